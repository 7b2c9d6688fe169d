"""kill -9 at random moments of training, testing and sweeping, and Ctrl-C twice: nothing is lost, damaged or left over.

`SPLITMIX_KILLS=50 pytest tests/commands/test_kills.py` tries fifty moments; three without it. The moments are seeded.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import running_in

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SPLITMIX_KILLS", "3"))
ROUNDS = 3
WORDS = ["debug=quick", f"rounds={ROUNDS}", "algorithm=fedavg", "algorithm.width=0.125", "clients_per_domain=1"]
WORDS += ["engine.workers=2", "engine.lanes=1", "engine.threads=2", "test.max_images=20"]
COMMANDS = {
    "train": ["train", *WORDS, "hydra.run.dir=outputs/x/run"],
    "test": ["test", "run=outputs/x/run", "attack=[none,fgsm,linf_pgd]", "test.max_images=20", "test.bn=post"],
    "sweep": ["train", "-m", "seed=1,2", "name=x", *WORDS],
}


def start(words, folder):
    command = [sys.executable, "-m", "splitmix", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(words, folder):
    """Run a command to its end; it must end well."""
    process = start(words, folder)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """By kind a folder in which the command ran without a kill, and the seconds that it took."""
    done = {}
    for kind, words in COMMANDS.items():
        folder = tmp_path_factory.mktemp(kind)
        if kind == "test":
            shutil.copytree(done["train"][0] / "outputs", folder / "outputs")
        begin = time.monotonic()
        finish(words, folder)
        done[kind] = folder, time.monotonic() - begin
    return done


def runs(folder):
    """Run folders by name."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("outputs/x/*/results.json"))}


def questions(folder):
    """What the records of a run folder's tests answer."""
    tests = json.loads((folder / "results.json").read_text())["tests"]
    return {(test["bn"], test["attack"]["name"], test["width"], test["accuracy"]) for test in tests}


def check_whole(folder):
    """No file under its own name is damaged, whenever the kill came."""
    for path in folder.rglob("*.ckpt"):
        assert torch.load(path, weights_only=True)["schema"] == 2
    for path in folder.rglob("results.json"):
        assert json.loads(path.read_text())["schema"] == 1


@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_at_any_moment_costs_nothing(number, straight, tmp_path):
    kind = list(COMMANDS)[number % len(COMMANDS)]
    words, (reference, seconds) = COMMANDS[kind], straight[kind]
    if kind == "test":
        shutil.copytree(straight["train"][0] / "outputs", tmp_path / "outputs")
    process = start(words, tmp_path)
    # The first third is Python's start.
    time.sleep(random.Random(number).uniform(0.3, 1.0) * seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    check_whole(tmp_path)
    before = {name: questions(run) for name, run in runs(tmp_path).items()}
    if kind == "train" and runs(tmp_path):
        words = ["train", "resume=outputs/x/run"]
    elif kind == "train":
        shutil.rmtree(tmp_path / "outputs", ignore_errors=True)  # it was killed before it had begun
    finish(words, tmp_path)
    check_whole(tmp_path)
    assert list(runs(tmp_path)) == list(runs(reference))
    for name, run in runs(tmp_path).items():
        assert json.loads((run / "results.json").read_text())["status"] == "finished"
        assert before.get(name, set()) <= questions(run) == questions(runs(reference)[name])
        rounds = [line.partition(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
        assert rounds == ["round", *map(str, range(ROUNDS))]
        one, two = (torch.load(folder / "checkpoints/last.ckpt") for folder in (run, runs(reference)[name]))
        assert all(torch.equal(one["tensors"][name], two["tensors"][name]) for name in two["tensors"])
    assert [path for path in tmp_path.rglob("*.tmp")] == []


@pytest.mark.parametrize("pause_s", [0.0, 0.01, 0.1])
def test_a_second_ctrl_c_does_not_break_into_the_first(tmp_path, pause_s):
    words = [word for word in COMMANDS["train"] if not word.startswith("rounds")]
    process = start([*words, "rounds=40"], tmp_path)
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("round 2/"):
            process.send_signal(signal.SIGINT)
            time.sleep(pause_s)
            process.send_signal(signal.SIGINT)
            break
    output += process.stdout.read()
    assert process.wait() == 130 and "go on with: splitmix train resume=" in output
    assert "Traceback" not in output and "Exception" not in output
    [run] = runs(tmp_path).values()
    assert json.loads((run / "results.json").read_text())["status"] == "interrupted"
    assert [path for path in tmp_path.rglob("*.tmp")] == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sessions are read from /proc")
def test_jobs_beside_each_other_end_with_a_killed_sweep(tmp_path):
    """Otherwise they would hold their runs, which could not be resumed."""
    words = [word for word in WORDS if not word.startswith("rounds")]
    beside = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, "-m", "splitmix", "train", "-m", "seed=1,2", "name=x", "rounds=40", *words, *beside]
    sweep = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)  # fmt: skip
    for _ in range(600):
        if len(list(tmp_path.glob("outputs/x/*/checkpoints/last.ckpt"))) == 2:
            break
        time.sleep(0.1)
    assert len(running_in(sweep.pid)) > 2
    sweep.send_signal(signal.SIGKILL)
    words_said = sweep.communicate(timeout=30)[1]
    assert "the sweep is gone; its job ends too, and can be resumed" in words_said
    for _ in range(100):
        if not running_in(sweep.pid):
            break
        time.sleep(0.1)
    assert running_in(sweep.pid) == []
    for run in runs(tmp_path).values():
        resumed = start(["train", f"resume={run}"], tmp_path)
        assert any(line.startswith("round ") for line in resumed.stdout)
        resumed.kill()
        resumed.communicate()


def test_tests_at_once_and_beside_training_keep_all_records(straight, tmp_path):
    shutil.copytree(straight["train"][0] / "outputs", tmp_path / "outputs")
    run = "outputs/x/run"
    common = [f"run={run}", "test.max_images=20", "engine.workers=1", "engine.threads=1"]
    grid = ["-m", "attack=[none],[linf_pgd]", "test.bn=post", "hydra/launcher=joblib"]
    asked = [["test.bn=trained", "attack=[fgsm]"], ["test.bn=post", "attack=[fgsm]"], grid]
    several = [start(["test", *words, *common], tmp_path) for words in asked]
    for process in several:
        output = process.communicate()[0]
        assert process.returncode == 0, output
    found = {question[:2] for question in questions(tmp_path / run)}
    assert found == {("trained", "none"), ("trained", "fgsm"), ("post", "fgsm"), ("post", "none"), ("post", "linf_pgd")}
    # A run that trains for long enough to be tested meanwhile.
    words = [word for word in COMMANDS["train"] if not word.startswith(("rounds", "hydra"))]
    training = start([*words, "rounds=400", "hydra.run.dir=outputs/x/long"], tmp_path)
    for line in training.stdout:
        if line.startswith("round 2/"):
            break
    output = finish(["test", "run=outputs/x/long", *common[1:], "checkpoint=last"], tmp_path)
    assert "still training" in output
    training.send_signal(signal.SIGINT)
    training.communicate()
    content = json.loads((tmp_path / "outputs/x/long/results.json").read_text())
    assert content["status"] == "interrupted" and [test["checkpoint"] for test in content["tests"]] == ["last"]
    assert 2 <= content["tests"][0]["round"] < 400
