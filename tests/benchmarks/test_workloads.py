"""The benchmark: its record is complete and its arithmetic is right. Timings themselves are no test's business."""

import json

import pytest

from splitmix.benchmarks import workloads as benchmarks
from splitmix.commands import main
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.cost import lane_cost

SMALL = {"clients_per_domain": 2, "batch_size": 8}


@pytest.mark.parametrize("widths", [(), (0.125, 1.0)])
@pytest.mark.slow
def test_a_workload_is_timed_packed_and_one_lane_at_a_time(dataset, monkeypatch, widths):
    monkeypatch.setattr(benchmarks, "WORKLOADS", {"tiny": benchmarks.Workload("tiny", SMALL, widths)})
    record = benchmarks.benchmark(["tiny"], dataset, EngineSettings(lanes=4, workers=1, threads=1), 2)
    assert json.loads(json.dumps(record)) == record
    tiny = record["workloads"]["tiny"]
    assert (tiny["packed"]["engine"]["lanes"], tiny["one_lane"]["engine"]["lanes"]) == (4, 1)
    for path in ("packed", "one_lane"):
        seconds = tiny[path]["seconds"]
        assert seconds["total"] == pytest.approx(sum(seconds[phase] for phase in benchmarks.PHASES))
        assert (seconds["evaluate"] > 1e-3) == bool(widths)
    assert tiny["speedup"] == tiny["one_lane"]["seconds"]["total"] / tiny["packed"]["seconds"]["total"]


def test_operations_are_counted_by_lanes_and_images(dataset):
    timed = benchmarks.Timed(
        benchmarks.Workload("tiny", SMALL, (1.0,)), dataset, EngineSettings(lanes=1, workers=1, threads=1)
    )
    macs, _ = lane_cost(timed.federation.method.spec)
    # Budgets 8-4-2-1 over four clients of 24, 24, 23, 22 or 23 training images: 1, 2, 4 and 8 base models.
    train = [len(client.train) for client in timed.federation.clients]
    val = sum(len(client.val) for client in timed.federation.clients)
    trained = sum(n * lanes for n, lanes in zip(train, (1, 2, 4, 8), strict=True))
    assert timed.lane_steps() == 3 * (1 + 2 + 4 + 8)
    assert timed.flops() == pytest.approx(2 * macs * (3 * trained + 8 * val))


@pytest.mark.slow
def test_the_verb_prints_a_table_and_writes_json(dataset, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmarks, "WORKLOADS", {"tiny": benchmarks.Workload("a tiny one", SMALL)})
    monkeypatch.setattr("splitmix.data.minidigits.MiniDigits.load", lambda self, say=None: dataset)
    assert main(["benchmark", "repeats=1", "out=b.json", "engine.workers=1", "engine.lanes=2"]) == 0
    assert json.loads((tmp_path / "b.json").read_text())["repeats"] == 1
    assert main(["benchmark", "benchmark=memory", "rounds=2", "out=m.json", "engine.workers=2"]) == 2  # too few images
    monkeypatch.setattr("splitmix.benchmarks.workloads.memory", lambda *_: iter([(1, 1e9), (2, 2e9)]))
    assert main(["benchmark", "benchmark=memory", "rounds=2", "out=m.json"]) == 0
    assert json.loads((tmp_path / "m.json").read_text()) == {"memory": {"1": 1e9, "2": 2e9}}
    output = capsys.readouterr().out
    assert "one lane" in output and "packed" in output and "after round 2: 2 GB resident" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "m.json"]
