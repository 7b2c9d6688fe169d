"""Memory and start of federations of many clients."""

import json

import pytest

from splitmix.benchmarks import clients as benchmark
from splitmix.commands import main
from splitmix.data.clients import ClientData
from splitmix.engine.settings import EngineSettings

ENGINE = EngineSettings(accelerator="cpu", lanes=4, workers=1, threads=1)


def test_a_hundred_thousand_clients_start_at_once_and_cost_little():
    """Their images alone take 80 MB, a row for each of them of what SCAFFOLD remembers would take 15 GB."""
    costs = benchmark.costs_of(100_000, "scaffold", per_round=2, rounds=1)
    assert costs["start_s"] < 10 and costs["plan_s"] < 2
    assert costs["bytes"] < 150e6


def test_clients_are_made_as_they_are_asked_for():
    dataset = benchmark.generated(50)
    made = benchmark.made(ENGINE, dataset, "fedavg", 50, 2, 1)
    assert isinstance(made.clients[-1], ClientData) and made.clients[-1].id == "0-49"
    assert [client.id for client in made.clients[48:]] == ["0-48", "0-49"]
    assert len(list(made.clients)) == len(made.clients) == 50
    with pytest.raises(IndexError):
        made.clients[50]
    rows = sorted(row for client in made.clients for part in (client.train, client.val) for row in part.tolist())
    assert rows == list(range(50 * benchmark.TRAIN))


@pytest.mark.slow
def test_the_verb_measures_each_number_in_a_process_of_its_own(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "NUMBERS", (100,))
    monkeypatch.setattr(benchmark, "MODELS", {"fedavg": None})
    assert main(["benchmark", "benchmark=clients", "out=c.json"]) == 0
    record = json.loads((tmp_path / "c.json").read_text())["clients"]
    assert list(record) == ["fedavg 100"] and record["fedavg 100"]["start_s"] > 0
    assert "fedavg, 100 clients: start" in capsys.readouterr().out
