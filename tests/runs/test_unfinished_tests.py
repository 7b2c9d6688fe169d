"""A long test that is stopped goes on where it was: the same numbers, each client measured once."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from rounds import after

from splitmix.engine.engine import Engine
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.accuracy import Accuracy
from splitmix.federation.in_parts import InParts
from splitmix.robustness.attacks import LinfPGD
from splitmix.runs.testing import progress_of
from splitmix.runs.unfinished_tests import UnfinishedTest, question_of
from splitmix.test_settings import TestSettings

WIDTHS = (0.125, 1.0)
QUESTION = {"checkpoint": "abc", "adv_lambda": 0.5}


def accuracy(clients=2, images=8, seed=0):
    per_client = torch.rand(clients, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Accuracy(WIDTHS, per_client, torch.zeros(clients, 0), images)


def test_parts_come_back_as_they_were(tmp_path):
    first = UnfinishedTest(tmp_path, QUESTION, WIDTHS)
    for number in range(2):
        first.put(number, accuracy(seed=number))
    again = UnfinishedTest(tmp_path, QUESTION, WIDTHS)
    for number in range(2):
        assert torch.equal(again.get(number).per_client, accuracy(seed=number).per_client)
        assert again.get(number).n_images == 8
    assert again.get(2) is None
    other = UnfinishedTest(tmp_path, {**QUESTION, "adv_lambda": 0.6}, WIDTHS)
    assert other.get(0) is None and other.path != first.path
    again.recorded()
    again.recorded()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: text.replace("0.5", "0.7"),
        lambda text: json.dumps({**json.loads(text), "parts": [{"per_client": [[0.5]], "n_images": 3}]}),
        lambda text: json.dumps({**json.loads(text), "parts": [{"per_client": [[0.5, 7.0]], "n_images": 3}]}),
        lambda text: "[]",
    ],
)
def test_a_damaged_file_is_measured_again(tmp_path, damage, caplog):
    known = UnfinishedTest(tmp_path, QUESTION, WIDTHS)
    known.put(0, accuracy())
    known.path.write_text(damage(known.path.read_text()))
    with caplog.at_level(logging.WARNING, "splitmix"):
        assert UnfinishedTest(tmp_path, QUESTION, WIDTHS).get(0) is None
    assert "the test begins anew" in caplog.text


def test_the_question_holds_all_that_the_numbers_depend_on():
    def question(test=None, attack=None, level=0.5, config="c", precision="32-true", checkpoint="weights"):
        return question_of(checkpoint, config, test or TestSettings(), WIDTHS, level, attack or LinfPGD(), precision)

    same = question()
    assert question() == same and json.loads(json.dumps(same)) == same
    others = [
        question(TestSettings(bn="post")),
        question(TestSettings(batch_size=64)),
        question(TestSettings(max_images=10)),
        question(TestSettings(mix="median")),
        question(TestSettings(sort_base_models=True)),
        question(attack=LinfPGD(4.0)),
        question(level=0.6),
        question(config="d"),
        question(precision="64-true"),
        question(checkpoint="other weights"),
    ]
    assert all(other != same for other in others)


def test_a_stopped_test_goes_on_and_gives_the_same_numbers(federation, tmp_path, monkeypatch):
    fed = federation(engine=EngineSettings(lanes=1, workers=1, threads=1))
    state, _ = after(fed, 1)
    attack = LinfPGD(steps=2)
    whole = fed.test(state, WIDTHS, attack=attack, bn="post")
    evaluate, measured, told = Engine.evaluate, [], []

    def until_two(engine, state, task):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(len(task.batches))
        return evaluate(engine, state, task)

    monkeypatch.setattr(Engine, "evaluate", until_two)
    parts = InParts(lambda done, clients: told.append((done, clients)), UnfinishedTest(tmp_path, QUESTION, WIDTHS))
    with pytest.raises(KeyboardInterrupt):
        fed.test(state, WIDTHS, attack=attack, bn="post", in_parts=parts)
    clients = len(fed.clients)
    assert told == [(0, clients), (measured[0], clients), (sum(measured), clients)] and sum(measured) < clients
    first = sum(measured)
    monkeypatch.setattr(Engine, "evaluate", lambda *given: measured.append(len(given[2].batches)) or evaluate(*given))
    told.clear()
    parts = replace(parts, known=UnfinishedTest(tmp_path, QUESTION, WIDTHS))
    resumed = fed.test(state, WIDTHS, attack=attack, bn="post", in_parts=parts)
    assert told[0] == (first, clients) and told[-1] == (clients, clients) and sum(measured) == clients
    assert torch.equal(resumed.per_client, whole.per_client) and resumed.n_images == whole.n_images
    fed.engine.close()


def test_progress_says_what_is_left_of_what_was_not_known(monkeypatch, caplog):
    now = iter([0.0, 12.0, 12.0, 15.0, 30.0, 30.0, 99.0])
    monkeypatch.setattr("splitmix.runs.testing.perf_counter", lambda: next(now))
    progress = progress_of("attack square, λ 0.5")
    with caplog.at_level(logging.INFO, "splitmix"):
        for done in (20, 26, 28, 35, 50):
            progress(done, 50)
    assert [record.message for record in caplog.records] == [
        "attack square, λ 0.5: 20 of 50 clients are known from a test that was stopped",
        "attack square, λ 0.5: 26 of 50 clients, 0:48 left",
        "attack square, λ 0.5: 35 of 50 clients, 0:30 left",
    ]
