"""The page on own algorithms: its FedProx trains by its commands, out of tree, and is the built-in one."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedprox import FedProx
from splitmix.algorithms.server_optimizers import ServerMomentum
from splitmix.commands import main

PAGE = (Path(__file__).parents[1] / "docs" / "own_algorithm.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's two files in a folder of a user's."""
    [code, momentum], [option] = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("python", "yaml"))
    (tmp_path / "my_conf" / "algorithm").mkdir(parents=True)
    (tmp_path / "my_algorithms.py").write_text(code)
    (tmp_path / "my_momentum.py").write_text(momentum)
    (tmp_path / "my_conf" / "algorithm" / "my_prox.yaml").write_text(option)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    for name in ("my_algorithms", "my_momentum"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder, capfd):
    [block] = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    train, listing, test = (shlex.split(line)[1:] for line in block.strip().splitlines())
    quick = ["debug=quick", "engine.workers=1", "server_optimizer=adam", "optimizer.clip_norm=1"]
    assert main([*train, *quick]) == 0
    capfd.readouterr()
    assert main(listing) == 0 and "my_prox" in capfd.readouterr().out
    assert main([*test, "test.max_images=20"]) == 0
    assert main(["train", "--config-dir", "my_conf", "algorithm=my_prox", "--help"]) == 0
    assert "my_prox" in capfd.readouterr().out


def test_it_is_the_built_in_fedprox(folder, federation):
    from my_algorithms import MyProx

    states = []
    for algorithm in (FedProx(0.125, mu=0.5), MyProx(0.125, mu=0.5)):
        fed = federation(algorithm)
        states.append(fed.run_round(fed.initial_state())[0].tensors)
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_its_momentum_is_the_built_in_one(folder, federation):
    from my_momentum import MyMomentum

    states = []
    for algorithm, server in ((FedAvg(0.125), ServerMomentum(lr=1.0, momentum=0.9)), (MyMomentum(0.125), None)):
        fed = federation(algorithm, server_optimizer=server)
        state = fed.initial_state()
        for _ in range(2):
            state = fed.run_round(state)[0]
        states.append(state.tensors)
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-5, atol=1e-6)
