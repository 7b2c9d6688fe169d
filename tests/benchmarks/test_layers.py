"""The benchmark of single operations: it follows the engine, and its ways compute the same thing."""

import json

import pytest
import torch

from splitmix.benchmarks import layers as benchmarks
from splitmix.commands import main
from splitmix.engine.precision import Place


def test_the_verb_times_every_way_with_the_engine_s_lanes_and_precision(monkeypatch, tmp_path):
    timed = []

    def once(function, place):
        function()
        timed.append(place)
        return 1.0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmarks, "milliseconds", once)
    words = ["engine.lanes=2", "engine.precision=64-true", "engine.accelerator=cpu", "out=l.json"]
    assert main(["benchmark", "benchmark=layers", *words]) == 0
    record = json.loads((tmp_path / "l.json").read_text())["layers"]
    assert set(record) == {*benchmarks.LAYERS, "2x2 max-pool and ReLU", "SGD step"}
    assert len(timed) == sum(map(len, record.values()))
    assert set(timed) == {Place(torch.device("cpu"), "64-true")}


def test_all_ways_of_a_convolution_give_the_same_gradients(monkeypatch):
    grad, seen = torch.autograd.grad, []

    def watched(out, inputs, ones):
        seen.append(grad(out.reshape(ones.shape), inputs, ones))
        return seen[-1]

    monkeypatch.setattr(torch.autograd, "grad", watched)
    place = Place(torch.device("cpu"), "64-true")
    for name, ways in benchmarks.convolutions(place, 2):
        seen.clear()
        for way in ways.values():
            way()
        assert len(seen) == 3, name
        for other in seen[1:]:
            for ours, theirs in zip(seen[0], other, strict=True):
                assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-9)


def test_a_time_is_a_median_of_calls_after_some_that_do_not_count():
    calls = []
    assert benchmarks.milliseconds(lambda: calls.append(1), Place(torch.device("cpu")), repeats=3) >= 0
    assert len(calls) == 8
