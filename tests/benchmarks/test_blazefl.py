"""BlazeFL's benchmark: the published networks and setting, on random images where the data is not there."""

import json

import pytest

from splitmix.benchmarks import blazefl as benchmark
from splitmix.commands import main
from splitmix.engine.settings import EngineSettings

ENGINE = EngineSettings(accelerator="cpu", lanes=2, workers=1, threads=1)


def small(network, monkeypatch):
    """The federation of two clients of 75 images."""
    monkeypatch.setattr(benchmark, "CLIENTS", 2)
    monkeypatch.setattr(benchmark, "EPOCHS", 1)
    return benchmark.federation(benchmark.random_images(150, 20), benchmark.NETWORKS[network], ENGINE, 2)


def test_the_federation_is_the_published_one():
    made = benchmark.federation(benchmark.random_images(5000, 200), benchmark.NETWORKS["cnn"], ENGINE, 2)
    assert len(made.clients) == 100 and made.local_epochs == 5 and made.batch_size == 50
    assert [len(part) for part in (made.clients[7].train, made.clients[7].val)] == [40, 10]
    assert (made.optimizer.lr, made.optimizer.momentum, made.schedule.factor(3, 5)) == (0.1, 0.0, 1.0)


@pytest.mark.parametrize(("name", "megabytes"), [("cnn", 0.24), ("resnet18", 44.59)])
@pytest.mark.slow
def test_networks_have_the_published_sizes_and_train(monkeypatch, name, megabytes):
    """In MiB of float32; the published size of ResNet-18 counts a last layer of 1000 classes."""
    made = small(name, monkeypatch)
    state = made.initial_state()
    size = sum(value[0].numel() * 4 for value in state.tensors.values()) / 2**20
    assert size == pytest.approx(megabytes, rel=0.05)
    seconds = benchmark.rounds(made, 1)
    assert len(seconds) == 1 and seconds[0] > 0
    assert made.run_round(state)[1].loss < 10


@pytest.mark.slow
def test_the_verb_says_that_images_are_random_and_compares(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "CLIENTS", 2)
    monkeypatch.setattr(benchmark, "EPOCHS", 1)
    monkeypatch.setattr(benchmark, "IMAGES", (150, 20))
    monkeypatch.setattr(benchmark, "NETWORKS", {"cnn": benchmark.NETWORKS["cnn"]})
    words = ["engine.workers=1", "engine.threads=1", "engine.lanes=2", "engine.accelerator=cpu"]
    assert main(["benchmark", "benchmark=blazefl", "repeats=1", "out=b.json", *words]) == 0
    output = capsys.readouterr().out
    assert "the images are random" in output and "BlazeFL's on an A100: 3.7" in output
    record = json.loads((tmp_path / "b.json").read_text())["blazefl"]
    assert record["images"] == "random" and record["networks"]["cnn"]["published"] == 3.7
    assert record["networks"]["cnn"]["engine"]["device"] == "cpu"
