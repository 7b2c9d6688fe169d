"""`splitmix import` and `splitmix profile`: checkpoints in the authors' layout, costs as JSON, one-line mistakes."""

import json
import os
import pickle

import pytest
import torch
from variants import mostly_slow

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.commands import main
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.preresnet18 import PreResNet18
from splitmix.runs.reference_names import reference_name

SMALL = ["clients_per_domain=2", "train_fraction=0.1", "engine.workers=1", "engine.lanes=8"]
BUDGETS = (0.125, 0.25, 0.5, 1.0)


def saved(path, method, **changes):
    """A checkpoint as the authors' code writes it, of fresh tensors; returns its entries."""
    state = method.initial_state(5)
    spec = method.server_network
    names = {
        name: [reference_name(method, spec, row, name) for row in range(len(value))]
        for name, value in state.tensors.items()
    }
    server = {key: state.tensors[name][row] for name, keys in names.items() for row, key in enumerate(keys)}
    clients = [
        {names[name][row]: value[client, row] for name, value in state.clients.items() for row in range(value.shape[1])}
        for client in range(len(method.problem.budgets) if state.clients else 0)
    ]
    content = {
        "server_model": {"server": {**server, **changes.pop("entries", {})}, "clients": clients},
        "best_epoch": 6, "best_acc": [0.5, 0.75], "a_iter": 7, "all_domains": ["a"], "train_elapsed": [[1.0, 2.0]],
    }  # fmt: skip
    torch.save({**content, **changes}, path)
    return state


@pytest.mark.parametrize(
    ("words", "algorithm", "bn"),
    [
        ("algorithm=splitmix", SplitMix(), "batch"),
        ("algorithm=splitmix", SplitMix(), "tracked"),
        ("algorithm=fedavg algorithm.width=0.25", FedAvg(width=0.25), "batch"),
        ("algorithm=heterofl", HeteroFL(), "batch"),
        ("algorithm=fedavg algorithm.width=0.125", FedAvg(width=0.125), "local"),
    ],
)
@pytest.mark.slow
def test_an_imported_checkpoint_is_a_run_that_can_be_tested(tmp_path, monkeypatch, capfd, words, algorithm, bn):
    monkeypatch.chdir(tmp_path)
    problem = Problem((3, 28, 28), 10, (0.125,) * 2 + (1.0,) * 8)
    state = saved(tmp_path / "theirs.pth", algorithm.bind(DigitCNN(bn=bn), problem))
    line = ["import", "file=theirs.pth", "out=runs/theirs", *words.split(), f"model.bn={bn}", *SMALL]
    assert main(line) == 0, capfd.readouterr().err
    content = torch.load("runs/theirs/checkpoints/best.ckpt", weights_only=True)
    assert all(torch.equal(content["tensors"][name], value) for name, value in state.tensors.items())
    assert (content["round"], content["best_round"], content["best_value"]) == (8, 6, 0.625)
    width = 0.25 if "0.25" in words else 0.125
    assert main(["test", "run=runs/theirs", f"test.widths={width}", "test.max_images=40", "engine.workers=1"]) == 0
    results = json.loads((tmp_path / "runs/theirs/results.json").read_text())
    assert results["tests"][0]["width"] == width and results["status"] == "finished"
    assert main(["test", "run=latest", "test.widths=0.77"]) == 2  # none under outputs/
    assert main(line) == 2
    assert "out=runs/theirs: exists already" in capfd.readouterr().err
    assert sorted(os.listdir(tmp_path / "runs")) == ["theirs"]


class Hostile:
    """Runs a command when unpickled by an unsafe reader."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.slow
def test_what_does_not_fit_is_named_and_nothing_is_made(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    method = SplitMix().bind(DigitCNN(), Problem((3, 28, 28), 10, BUDGETS))
    saved("extra.pth", method, entries={"8.conv1.weight": torch.zeros(8, 3, 5, 5)})
    saved("shape.pth", method, entries={"3.fc3.bias": torch.zeros(7), "4.fc3.bias": torch.zeros(2)})
    saved("nan.pth", method, entries={"0.conv1.bias": torch.full((8,), float("nan"))})
    saved("missing.pth", method, entries={"2.bn1.weight": None, "5.bn1.bias": None})
    saved("layout.pth", method, server_model={})
    saved("whole.pth", method)
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Hostile()))
    torch.save({"server_model": {"server": {"x": Hostile()}}}, "hostile2.pth")
    for file, words in {
        "extra": ["8.conv1.weight is unknown"],
        "shape": ["3.fc3.bias has shape [7] instead of [10]", "4.fc3.bias has shape [2]"],
        "nan": ["0.conv1.bias has values that are not finite"],
        "missing": ["2.bn1.weight is missing", "5.bn1.bias is missing"],
        "layout": ["not a checkpoint of the authors' code"],
        "cut": ["truncated"],
        "hostile": ["holds more than tensors"],
        "hostile2": ["holds more than tensors"],
        "absent": ["does not exist"],
    }.items():
        assert main(["import", f"file={file}.pth", "out=made", *SMALL]) == 2
        error = capfd.readouterr().err
        assert all(word in error for word in words) and error.count("\n") == 1, error
    assert main(["import", "file=whole.pth", "out=made", "algorithm=fedavg", *SMALL]) == 2
    assert "conv1.weight is missing" in capfd.readouterr().err
    assert main(["import", "file=whole.pth", "out=/proc/version/made", *SMALL]) == 2
    assert main(["import", "file=whole.pth", *SMALL]) == 2
    assert not (tmp_path / "made").exists() and not (tmp_path / "hacked").exists()


@pytest.mark.slow
def test_checkpoints_with_other_types_are_named(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    method = FedAvg(width=0.125).bind(DigitCNN(), Problem((3, 28, 28), 10, BUDGETS))
    server = {name: value[0] for name, value in method.initial_state(5).tensors.items()}
    sparse = {"conv1.weight": server["conv1.weight"].to_sparse(), "conv2.weight": server["conv2.weight"] + 1j}
    for name, changes in {
        "its server_model.clients is 5": {"server_model": {"server": server, "clients": 5}},
        "its server_model.clients is [5]": {"server_model": {"server": server, "clients": [5]}},
        "its best_acc is ['x']": {"best_acc": ["x"]},
        "its best_acc is 0.5": {"best_acc": 0.5},
        "its a_iter is -7": {"a_iter": -7},
        "its best_epoch is True": {"best_epoch": True},
        "conv1.weight is no plain tensor of real numbers": {"server_model": {"server": {**server, **sparse}}},
    }.items():
        torch.save({"server_model": {"server": server, "clients": []}, **changes}, "x.pth")
        assert main(["import", "file=x.pth", "out=made", "algorithm=fedavg", "algorithm.width=0.125", *SMALL]) == 2
        error = capfd.readouterr().err
        assert name in error and error.count("\n") == 1, error
    os.mkfifo("pipe.pth")
    assert main(["import", "file=pipe.pth", "out=made", *SMALL]) == 2
    assert "file=pipe.pth is a named pipe, not a file" in capfd.readouterr().err
    monkeypatch.setenv("SPLITMIX_MAX_PICKLE_GIB", "1e-5")
    assert main(["import", "file=x.pth", "out=made", *SMALL]) == 2
    assert "raise the variable SPLITMIX_MAX_PICKLE_GIB" in capfd.readouterr().err


def test_names_of_the_reference():
    problem = Problem((3, 32, 32), 10, BUDGETS)
    for bn, name, expected in (
        ("batch", "layer2.0.n1.weight", "3.layer2.0.n1.weight"),
        ("tracked", "layer2.0.n1.weight", "3.layer2.0.bn1.weight"),
        ("tracked", "n4.bias", "3.bn4.bias"),
        ("local", "layer1.1.conv2.weight", "3.layer1.1.conv2.weight"),
    ):
        method = SplitMix().bind(PreResNet18(bn=bn), problem)
        assert reference_name(method, method.spec, 3, name) == expected
    method = FedAvg().bind(PreResNet18(bn="tracked"), problem)
    assert reference_name(method, method.spec, 0, "n4.bias") == "n4.bias"


@pytest.mark.slow
def test_profile_prints_and_writes_costs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["profile", "algorithm=sheterofl", "widths=[0.125,0.25]", "repeats=1", "out=p.json"]) == 0
    narrow, wide = json.loads((tmp_path / "p.json").read_text())
    assert (narrow["width"], narrow["macs"], narrow["params"]) == (0.125, 1_194_304, 224_194)
    # SHeteroFL runs through all widths up to its budget: 3 x batch x (1,194,304 + 3,763,584).
    assert wide["training_macs"] == 3 * 32 * (1_194_304 + 3_763_584)
    assert narrow["bytes_per_round"] == 4 * 224_194 and narrow["latency_s"] > 0
    assert "×0.25" in capsys.readouterr().out
    robust = ["algorithm=fedavg", "algorithm.width=0.125", "algorithm.adv_lambda=0.5", "train_attack=fgsm"]
    assert main(["profile", *robust, "repeats=1", "batch_size=2", "out=q.json"]) == 0
    [row] = json.loads((tmp_path / "q.json").read_text())
    # Clean and attacked pass, 3 x batch x forward each, and the one step of the attack, 2 x batch x forward.
    assert row["training_macs"] == pytest.approx((3 + 3 + 2) * 2 * 1_194_304)
    # Shapes are known without the data.
    assert main(["profile", "dataset=cifar10", "model=preresnet18", "widths=0.125", "repeats=1", "batch_size=2"]) == 0
    fjord = ["algorithm=fjord", "algorithm.self_distillation=true", "widths=0.05", "repeats=1"]
    assert main(["profile", *fjord]) == 0
    assert "9.15 M" in capsys.readouterr().out
    assert main(["profile", "model=alexnet", "image_size=64", "widths=0.125", "repeats=1", "batch_size=2"]) == 0
    assert "902 k" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    mostly_slow(
        [
            ("model=alexnet", "model=alexnet needs images of at least 63x63"),
            (
                "algorithm=fedavg algorithm.width=0.25 widths=0.5",
                "algorithm=fedavg trained a single network of width 0.25",
            ),
            ("widths=x", "widths=x: give a number, a list of numbers, or auto"),
            ("batch_size=1", "batch_size=1: give at least 2"),
            ("image_size=0", "image_size=0: give at least 1"),
            ("out=nowhere/p.json", "the folder nowhere does not exist"),
            ("widths=[]", "give a number, a list of numbers, or auto"),
            ("repeat=1", "did you mean repeats"),
        ],
        3,
    ),
)
def test_mistakes_of_profile(tmp_path, monkeypatch, capfd, words, error):
    monkeypatch.chdir(tmp_path)
    assert main(["profile", *words.split()]) == 2
    assert error in capfd.readouterr().err and not list(tmp_path.iterdir())
