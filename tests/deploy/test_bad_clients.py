"""What bad clients do to a round: each kind of bad update is refused by name, and the others go on."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from fleets import deploy, nodes_of, noise_tree, run_words

from splitmix.algorithms.plain_data import from_bytes, to_bytes
from splitmix.deploy import exchange
from splitmix.deploy.checks import seconds_told
from splitmix.deploy.directory import Directory
from splitmix.deploy.exchange import Exchange
from splitmix.deploy.journal import read_journal
from splitmix.deploy.messages import BadMessage, packed, unpacked
from splitmix.deploy.transport import Answer
from splitmix.errors import UserError
from splitmix.fleet import Fleet
from splitmix.runs.checkpoint import read_content

FLEET = Fleet(round_seconds=900, wait_seconds=3)


@pytest.fixture
def two(tmp_path):
    """A run of two clients, one for each domain, and their nodes."""
    root = noise_tree(tmp_path / "images")
    resolved = run_words(root, "clients_per_domain=1", "algorithm=fedavg", "validate_every=9", "rounds=1")
    return resolved, nodes_of(root, tmp_path / "memory", ("0-0", "1-0"))


def with_update(change):
    """What changes the update that a node answers a training request with."""

    def spoil(content):
        if content["kind"] == "train":
            change(content)
        return content

    return spoil


def first(content):
    tensors = content["update"]["tensors"]
    name = sorted(tensors)[0]
    return tensors, name


def nan(content):
    tensors, name = first(content)
    tensors[name] = np.full_like(tensors[name], np.nan)


def another_shape(content):
    tensors, name = first(content)
    tensors[name] = tensors[name][..., :1]


def another_version(content):
    content["version"] = "0.0.0"


def another_round(content):
    content["update"]["task"]["round"] = 7


def no_tensors(content):
    content["update"]["tensors"] = {}


def a_list(content):
    content["update"] = [1, 2]


def heavier(content):
    content["update"]["weight"] = 1e9


def endless(content):
    content["update"]["tensors"]["more"] = np.zeros(10**7, np.float32)


def spoiled(node, spoil):
    return lambda request: to_bytes(spoil(from_bytes(node.answer(request))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "not finite"),
        (another_shape, "wrong shape"),
        (another_version, "wrong version"),
        (another_round, "of another round"),
        (no_tensors, "other tensors than expected"),
        (a_list, "malformed"),
        (heavier, "training images"),
        (endless, "too long"),
    ],
)
@pytest.mark.slow
def test_a_bad_update_is_refused_by_name_and_the_others_go_on(two, tmp_path, change, reason):
    resolved, nodes = two
    handlers = {**nodes, 101: spoiled(nodes[101], with_update(change))}
    deploy(resolved, tmp_path / "run", handlers, FLEET)
    entries = {entry.client: entry for entry in read_journal(tmp_path / "run" / "rounds.jsonl")}
    assert entries["0-0"].outcome == "accepted"
    assert entries["1-0"].outcome == "refused" and reason in entries["1-0"].reason
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_bad_update_stops_a_fleet_that_wants_that(two, tmp_path):
    resolved, nodes = two
    handlers = {**nodes, 101: spoiled(nodes[101], with_update(nan))}
    with pytest.raises(UserError, match=r"client 1-0 left out, refused \(not finite.*on_bad_update=stop"):
        deploy(resolved, tmp_path / "run", handlers, replace(FLEET, on_bad_update="stop"))


@pytest.mark.slow
def test_three_bad_updates_put_a_client_in_quarantine(two, tmp_path):
    resolved, nodes = two
    resolved["rounds"] = 4
    handlers = {**nodes, 101: spoiled(nodes[101], with_update(nan))}
    deploy(resolved, tmp_path / "run", handlers, FLEET)
    outcomes = [e.outcome for e in read_journal(tmp_path / "run" / "rounds.jsonl") if e.client == "1-0"]
    assert outcomes == ["refused", "refused", "refused", "quarantined"]


@pytest.mark.slow
def test_a_late_client_is_left_out_and_comes_back(two, tmp_path, monkeypatch):
    """By a clock that stands still until the client is late, so that a busy machine makes no other late."""
    resolved, nodes = two
    resolved["rounds"] = 3
    now, journal = [0.0], tmp_path / "run" / "rounds.jsonl"
    monkeypatch.setattr(exchange, "monotonic", lambda: now[0])

    def slow(request):
        if unpacked(request)["kind"] == "train" and now[0] == 0:
            now[0] = FLEET.round_seconds + 1
            wait_for(lambda: journal.is_file() and "missing" in journal.read_text())
        return nodes[101].answer(request)

    deploy(resolved, tmp_path / "run", {**nodes, 101: slow}, FLEET)
    outcomes = [e.outcome for e in read_journal(tmp_path / "run" / "rounds.jsonl") if e.client == "1-0"]
    assert outcomes[0] == "missing" and "late" in outcomes and outcomes[-1] == "accepted"


@pytest.mark.slow
def test_a_node_that_says_late_who_it_is_takes_part(two, tmp_path, monkeypatch):
    resolved, nodes = two
    now, given_up, asked = [0.0], threading.Event(), []
    monkeypatch.setattr(exchange, "monotonic", lambda: now[0])
    meet = Directory.meet

    def met(self, node, content):
        if content is None:
            given_up.set()
        meet(self, node, content)

    monkeypatch.setattr(Directory, "meet", met)

    def slow(request):
        if unpacked(request)["kind"] == "hello":
            asked.append(1)
            if len(asked) == 1:
                now[0] += FLEET.round_seconds + 1
                assert given_up.wait(300)
            else:
                raise RuntimeError("one answer must do")
        return nodes[101].answer(request)

    deploy(resolved, tmp_path / "run", {**nodes, 101: slow}, replace(FLEET, wait_seconds=300))
    assert [e.outcome for e in read_journal(tmp_path / "run" / "rounds.jsonl")] == ["accepted"] * 2


@pytest.mark.slow
def test_too_few_clients_stop_the_run_and_a_resumed_one_goes_on_with_equal_bits(tmp_path):
    root = noise_tree(tmp_path / "images")
    words = ("clients_per_domain=1", "algorithm=scaffold", "validate_every=9", "rounds=3")
    resolved, fleet = run_words(root, *words), replace(FLEET, min_clients=2, attempts=1)
    nodes = nodes_of(root, tmp_path / "straight", ("0-0", "1-0"))
    deploy(resolved, tmp_path / "run", nodes, fleet)
    nodes = nodes_of(root, tmp_path / "stopped", ("0-0", "1-0"))

    def dies(request):
        content = unpacked(request)
        if content["kind"] == "train" and content["task"]["round"] == 1:
            raise RuntimeError("the device is gone")
        return nodes[101].answer(request)

    with pytest.raises(UserError, match=r"round 2: fewer than fleet\.min_clients=2 good updates"):
        deploy(resolved, tmp_path / "again", {**nodes, 101: dies}, fleet)
    deploy(resolved, tmp_path / "again", nodes, fleet, resume=True)
    straight, resumed = (read_content(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("run", "again"))
    assert straight["round"] == resumed["round"] == 3
    for scope in ("tensors", "server"):
        assert all(torch.equal(value, resumed[scope][name]) for name, value in straight[scope].items())


def wait_for(done, seconds=300):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Twice:
    """A transport on which every answer comes twice."""

    def __init__(self):
        self.sent = []

    def nodes(self):
        return [1, 2]

    def send(self, node, content, seconds):
        self.sent.append(f"{node}")
        return f"{node}"

    def receive(self, tickets, seconds):
        return [Answer(self.sent[0], b"x"), Answer(self.sent[0], b"y"), Answer(self.sent[1], b"z")]


def test_a_second_answer_is_told_apart():
    came = [(item.client, item.answer.content, item.duplicate) for item in Exchange(Twice()).ask(
        {0: (1, b""), 1: (2, b"")}, 5
    )]  # fmt: skip
    assert came == [(0, b"x", False), (0, b"y", True), (1, b"z", False)]


@pytest.mark.parametrize("told", [None, "fast", True, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_not_written_down(told):
    assert seconds_told({"seconds": told}) is None and seconds_told({"seconds": 1.25}) == 1.25


def test_messages_are_read_with_limits():
    data = packed("train", {"values": np.arange(3)})
    assert unpacked(data, "train")["values"].tolist() == [0, 1, 2]
    for wrong, kind, most, reason in (
        (data, "hello", None, "wrong kind"),
        (data, "train", 10, "too long"),
        (data[:-9], "train", None, "malformed"),
        (b"", None, None, "malformed"),
        (to_bytes({"protocol": 99}), None, None, "protocol"),
    ):
        with pytest.raises(BadMessage, match=reason):
            unpacked(wrong, kind, most)
