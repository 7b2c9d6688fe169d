"""Two ranks over gloo: equal to one, whoever starts them, whoever dies, and whatever number a run is resumed with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import running

from splitmix.algorithms.aggregation import Median
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine.ranks import close_ranks
from splitmix.engine.settings import EngineSettings
from splitmix.models.digit_cnn import DigitCNN

pytestmark = pytest.mark.slow

ROUNDS = 2
WORDS = ["debug=quick", f"rounds={ROUNDS}", "algorithm=fedavg", "algorithm.width=0.125", "clients_per_domain=1"]
WORDS += [
    "engine.lanes=1",
    "engine.threads=1",
    "engine.workers=1",
    "test.max_images=20",
    "checkpoint_rounds=[1]",
    "hydra.run.dir=run",
]


def started(words, folder, **variables):
    command = [sys.executable, "-m", "splitmix", *words]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(words, folder):
    process = started(words, folder)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def state_of(folder, name="last"):
    return torch.load(folder / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(one, two):
    return all(torch.equal(one[part][name], two[part][name]) for part in ("tensors", "clients") for name in one[part])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of the run on one rank."""
    folder = tmp_path_factory.mktemp("one")
    finished(["train", *WORDS], folder)
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder of the same run on two ranks."""
    folder = tmp_path_factory.mktemp("two")
    output = finished(["train", *WORDS, "engine.devices=2"], folder)
    assert "2 ranks, each 1 thread" in output and output.count("run folder") == 1
    return folder


@pytest.fixture
def ranks():
    """Two ranks for this process's federations, which end with the test."""
    yield {"devices": 2, "workers": 1, "threads": 1, "precision": "64-true"}
    close_ranks()


def rounds_of(make, engine, *components, **settings):
    """State after two rounds on these engine settings, the metrics of the last, and the accuracy of validation."""
    with make(*components, engine=EngineSettings(**engine), **settings) as federation:
        state = federation.initial_state()
        for _ in range(ROUNDS):
            state, metrics = federation.run_round(state)
        widths = federation.method.widths
        return state, metrics, federation.validate(state, widths), federation.test(state, widths, bn="post")


def close(value, other):
    """Equal to the rounding of sums in float32, measured by the largest entry."""
    return (value.double() - other.double()).abs().max() <= 1e-5 * value.double().abs().max() + 1e-5


def test_two_ranks_give_the_numbers_of_one(federation, ranks):
    """Bit for bit one model at a time; to rounding with partial sums; updates gathered where a rule keeps them.

    In float64, so that rounding does not grow in training; sums are in float32.
    """
    local = DigitCNN(bn="local")
    cases = [
        ({"lanes": 1}, (SplitMix(), local), {}, True),
        ({"lanes": 1}, (Scaffold(width=0.25), local), {}, True),
        ({"lanes": 4}, (SplitMix(), local), {"clients_per_round": 3}, False),
        ({"lanes": 4}, (Scaffold(width=0.25),), {}, False),
        ({"lanes": 2}, (FedAvg(width=0.25),), {"aggregation": Median()}, False),
        ({"lanes": 2}, (FedAvg(width=0.25),), {"clients_per_round": 1}, False),
    ]
    for lanes, components, settings, exact in cases:
        one, two = (
            rounds_of(federation, {**engine, **lanes}, *components, **settings)
            for engine in ({**ranks, "devices": 1}, ranks)
        )
        for part in ("tensors", "server", "clients"):
            for name, value in getattr(one[0], part).items():
                other = getattr(two[0], part)[name]
                assert torch.equal(value, other) if exact else close(value, other), name
        assert two[1].loss == pytest.approx(one[1].loss, abs=0 if exact else 1e-4)
        assert two[1].bytes_up == one[1].bytes_up
        for ours, theirs in zip(one[2:], two[2:], strict=True):
            assert ours.n_images == theirs.n_images
            assert torch.allclose(ours.per_client, theirs.per_client, atol=1e-9)


def test_the_command_gives_the_same_run_on_two_ranks(straight, shared):
    assert same(state_of(straight), state_of(shared))
    results = [json.loads((folder / "run" / "results.json").read_text()) for folder in (straight, shared)]
    assert results[0]["config_hash"] == results[1]["config_hash"]
    assert results[0]["widths"] == results[1]["widths"] and results[1]["engine"]["ranks"] == 2
    assert "ranks" not in results[0]["engine"]
    assert not list(shared.rglob("*.tmp"))


def children_of(process):
    """Process ids of the ranks that a command has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(words[1]) == process.pid and "engine.follower" in command:
            found.append(int(status.parent.name))
    return found


def after_rounds(process, folder, count):
    """Wait until so many rounds of a run stand in metrics.csv."""
    deadline = time.monotonic() + 200
    file = folder / "run" / "metrics.csv"
    while not file.exists() or len(file.read_text().splitlines()) < count + 1:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("victim", ["follower", "leader"])
def test_a_rank_that_dies_ends_the_run_in_a_line(tmp_path, victim):
    words = [word for word in WORDS if not word.startswith("rounds=")]
    process = started(["train", *words, "rounds=500", "engine.devices=2"], tmp_path)
    after_rounds(process, tmp_path, 2)  # the checkpoint of the first is there, that of the second may not be yet
    [follower] = children_of(process)
    os.kill(follower if victim == "follower" else process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=30)  # the pipes close when both have ended
    assert len(errors.strip().splitlines()) == 1, errors
    if victim == "follower":
        assert process.returncode == 2
        assert errors.startswith("splitmix train: rank 1 died (killed by signal 9 (SIGKILL)); the last good checkpoint")
    else:
        assert errors.startswith("splitmix: rank 1: ") and errors.strip().endswith("is gone; this rank ends too")
    assert not running(follower)
    assert state_of(tmp_path)["round"] >= 1


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)], ids=["one, then two", "two, then one"])
def test_a_run_is_resumed_with_another_number_of_ranks(straight, shared, tmp_path, numbers):
    before, after = numbers
    run = tmp_path / "run"
    shutil.copytree((straight if before == 1 else shared) / "run", run)
    # As a run that was killed after its first round.
    shutil.copy(run / "checkpoints" / "round_1.ckpt", run / "checkpoints" / "last.ckpt")
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "status": "running"}))
    output = finished(["train", "resume=run", f"engine.devices={after}"], tmp_path)
    assert ("2 ranks" in output) == (after == 2) and "round 1/2" not in output
    assert same(state_of(straight), state_of(tmp_path))
    assert json.loads((run / "results.json").read_text())["widths"] == results["widths"]


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def slurm(rank):
    """What srun tells the task of a rank, for two tasks on one machine."""
    return {
        "SLURM_JOB_ID": 4711, "SLURM_STEP_ID": 0, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0,
        "SLURM_NTASKS": 2, "SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_NUM_NODES": 1, "SLURM_NNODES": 1,
        "SLURM_STEP_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": 1, "SLURM_JOB_NAME": "fleet",
        "MASTER_PORT": slurm.port,
    }  # fmt: skip


def test_the_tasks_of_a_slurm_job_are_the_ranks(straight, tmp_path):
    slurm.port = free_port()
    words = ["train", *WORDS, "engine.devices=2"]
    both = [started(words, tmp_path, **slurm(rank)) for rank in (0, 1)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[1] == ("", "")
    assert same(state_of(straight), state_of(tmp_path))


def test_a_mistake_on_rank_zero_ends_all_tasks(tmp_path):
    slurm.port = free_port()
    both = [started(["train", *WORDS], tmp_path, **slurm(rank)) for rank in (0, 1)]
    outputs = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [2, 0], outputs
    assert outputs[0][1].strip() == (
        "splitmix train: engine.devices=1 engine.num_nodes=1: SLURM started 2 processes for this run; give"
        " engine.devices=2 engine.num_nodes=1"
    )
    assert not (tmp_path / "run").exists()


def test_torchrun_starts_the_ranks(straight, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "splitmix"]
    command += ["train", *WORDS, "engine.devices=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert same(state_of(straight), state_of(tmp_path))


def test_a_command_on_each_machine_starts_the_ranks_of_that_machine(straight, tmp_path):
    words = ["train", *WORDS, "engine.devices=1", "engine.num_nodes=2"]
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    both = [started(words, tmp_path, NODE_RANK=rank, **meet) for rank in (0, 1)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert same(state_of(straight), state_of(tmp_path))
