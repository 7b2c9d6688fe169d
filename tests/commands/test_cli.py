"""The command line: a whole run, tests of it, resume after a kill, and one-line mistakes."""

import errno
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
import yaml
from processes import running
from variants import mostly_slow

import splitmix
from splitmix.commands import main
from splitmix.commands.application import run_application
from splitmix.commands.messages import log, log_to_file
from splitmix.commands.train import changed
from splitmix.runs.folders import read_config

SMALL = ["debug=quick", "budget.widths=8-4"]
SMALLER = ["train_fraction=0.03", "test.max_images=60", "engine.workers=1", "engine.threads=1"]
"""For the run that the quick tests share."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("work")
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", *SMALL, *SMALLER, "name=first"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def inside(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


def the_run(folder, name="first"):
    [run] = (folder / "outputs" / name).iterdir()
    return run


def test_a_run_folder_is_complete(inside):
    run = the_run(inside)
    for name in ("config.yaml", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "train.log"):
        assert (run / name).is_file(), name
    assert (run / ".hydra" / "overrides.yaml").is_file() and (run / "figures" / "convergence.png").is_file()
    results = json.loads((run / "results.json").read_text())
    assert results["status"] == "finished" and results["schema"] == 1 and set(results["widths"]) == {"0.125", "0.25"}
    assert [client["budget"] for client in results["clients"]] == [0.125] * 5 + [0.25] * 5
    assert all(0 <= record["sa_fixed"] <= 1 for record in results["widths"].values())
    assert all("accuracy_fixed" in record for record in results["tests"])
    entry_bytes = 4 * 224194
    assert {client["bytes_up"] for client in results["clients"]} == {entry_bytes, 2 * entry_bytes}


@pytest.mark.slow
def test_testing_adds_records_and_replaces_its_own(inside, capsys):
    run = the_run(inside)
    before = sorted(inside.rglob("*"))
    for _ in range(2):
        words = ["test.widths=0.25", "test.bn=post", "test.sort_base_models=true", "test.max_images=60"]
        assert main(["test", f"run={run}", *words]) == 0
    assert "×0.25" in capsys.readouterr().out
    records = json.loads((run / "results.json").read_text())["tests"]
    posts = [record for record in records if record["bn"] == "post"]
    assert len(posts) == 1 and posts[0]["n_images"] == 60 and len(posts[0]["per_client"]) == 10
    assert posts[0]["accuracy"] == pytest.approx(sum(posts[0]["per_client"]) / 10)
    assert sorted(inside.rglob("*")) == before


@pytest.mark.slow
def test_metrics_are_recorded_and_the_accuracy_stays(inside, capsys):
    run = the_run(inside)
    words = ["test.widths=[0.125,0.25]", "test.max_images=80", "attack=[none,fgsm]"]
    for metrics in ("accuracy", "[calibration_error,confusion_matrix]"):
        assert main(["test", f"run={run}", *words, f"test.metrics={metrics}"]) == 0
        records = json.loads((run / "results.json").read_text())["tests"]
        answers = [record for record in records if record["n_images"] == 80]
        assert len(answers) == 4
        if metrics == "accuracy":
            plain = answers
            assert not any("metrics" in record or "confusion_matrix" in record for record in plain)
    for before, record in zip(plain, answers, strict=True):
        matrix = record["confusion_matrix"]
        assert record["per_client"] == before["per_client"]
        assert sum(map(sum, matrix["pooled"])) == 80 and len(matrix["per_domain"]) == 5
        right = sum(matrix["pooled"][number][number] for number in range(10))
        assert right / 80 == pytest.approx(record["accuracy"])  # all clients have 8 images
        assert 0 <= record["metrics"]["calibration_error"]["pooled"] <= 1
    assert "ECE" in capsys.readouterr().out
    assert main(["test", f"run={run}", "test.metrics=accurcy"]) == 2
    assert "test.metrics=accurcy: no such metric (did you mean accuracy?)" in capsys.readouterr().err


@pytest.mark.slow
def test_attacks_are_recorded_beside_the_clean_test(inside, capsys):
    run = the_run(inside)
    words = ["test.widths=[0.125,0.25]", "test.max_images=40", "attack=[none,linf_pgd,fgsm]", "attack.linf_pgd.eps=2"]
    for _ in range(2):
        assert main(["test", f"run={run}", *words]) == 0
    assert "linf_pgd" in capsys.readouterr().out
    records = json.loads((run / "results.json").read_text())["tests"]
    found = [(record["width"], record["attack"]) for record in records if record["n_images"] == 40]
    pgd = {"name": "linf_pgd", "eps": 2.0, "steps": 7, "step_size": None, "random_start": True}
    attacks = [{"name": "none"}, pgd, {"name": "fgsm", "eps": 8.0}]
    assert found == [(width, attack) for attack in attacks for width in (0.125, 0.25)]


@pytest.mark.slow
def test_a_grid_of_levels_fills_the_records_and_draws(tmp_path, monkeypatch, capsys):
    """DAT in one command, the grid in another: records of every width, level and attack, and RA against SA."""
    monkeypatch.chdir(tmp_path)
    dat = ["algorithm.adv_lambda=0.5", "model.bn=tracked", "train_attack=fgsm", "test.max_images=20", "rounds=1"]
    assert main(["train", *SMALL, *dat, "name=dat"]) == 0
    text = capsys.readouterr().out
    assert "note: algorithm.rescale_init=true" in text and "val RA" in text
    assert any("width" in line and "val RA" in line and "fixed" in line for line in text.splitlines())
    run = the_run(tmp_path, "dat")
    columns = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"val_sa/0.125", "val_ra/0.125", "val_ra/0.25", "val_ra_client/0-0"} <= set(columns)
    grid = ["test.widths=auto", "test.adv_lambdas=[0,0.5,1]", "attack=[none,linf_pgd]", "attack.linf_pgd.steps=1"]
    for _ in range(2):
        assert main(["test", f"run={run}", *grid, "test.max_images=30"]) == 0
    records = [record for record in json.loads((run / "results.json").read_text())["tests"] if record["n_images"] == 30]
    asked = {(record["width"], record["adv_lambda"], record["attack"]["name"]) for record in records}
    assert len(records) == len(asked) == 2 * 3 * 2
    assert (run / "figures" / "tradeoff_linf_pgd.png").is_file()
    capsys.readouterr()
    assert main(["test", f"run={run}", "test.adv_lambdas=1.1"]) == 2
    assert "test.adv_lambdas=1.1: give values from 0" in capsys.readouterr().err
    # A checkpoint of another network is told by its entries.
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("adv_lambda: 0.5", "adv_lambda: 1.0"))
    assert main(["test", f"run={run}"]) == 2
    assert "does not fit the run's config: bn1.adv.bias is unknown" in capsys.readouterr().err


@pytest.mark.slow
def test_tests_on_validation_images_are_recorded_apart(inside, capsys):
    """So that no report takes them for tests; the same question again replaces its own."""
    run = the_run(inside)
    before = json.loads((run / "results.json").read_text())["tests"]
    for _ in range(2):
        words = ["test.images=validation", "test.widths=0.25", "test.max_images=60", "attack=[none,fgsm]"]
        assert main(["test", f"run={run}", *words]) == 0
    assert "clients' validation images" in " ".join(capsys.readouterr().out.split())
    results = json.loads((run / "results.json").read_text())
    assert results["tests"] == before
    assert [(r["attack"]["name"], r["n_images"]) for r in results["validation_tests"]] == [("none", 60), ("fgsm", 60)]


def test_a_level_asked_of_a_run_without_dual_norms_is_refused(inside, capfd):
    assert main(["test", f"run={the_run(inside)}", "test.adv_lambdas=0.5"]) == 2
    assert "trained without dual batch normalisation, only 0 is possible" in capfd.readouterr().err


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_tested(inside, tmp_path):
    """Its config lacks the keys that came later."""
    old = tmp_path / "old"
    shutil.copytree(the_run(inside), old)
    config = yaml.safe_load((old / "config.yaml").read_text())
    del config["train_attack"], config["algorithm"]["adv_lambda"]
    (old / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["test", f"run={old}", "test.widths=0.25", "test.max_images=20"]) == 0


def test_a_finished_run_resumes_to_success(inside):
    assert main(["train", "resume=latest"]) == 0


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_numbers_of_a_straight_one(tmp_path):
    command = [sys.executable, "-m", "splitmix", "train", *SMALL, "rounds=6", "engine.threads=2"]
    straight = subprocess.run([*command, "name=straight"], cwd=tmp_path, capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr
    killed = subprocess.Popen([*command, "name=killed"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in killed.stdout:
        if line.startswith("round 2/"):
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait()
    time.sleep(0.1)
    resume = [sys.executable, "-m", "splitmix", "train", f"resume={the_run(tmp_path, 'killed')}"]
    resumed = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "round 6/6" in resumed.stdout and "round 1/6" not in resumed.stdout
    one, two = the_run(tmp_path, "straight"), the_run(tmp_path, "killed")
    a, b = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (one, two))
    assert all(torch.equal(a["tensors"][name], b["tensors"][name]) for name in a["tensors"])
    ra, rb = (json.loads((run / "results.json").read_text()) for run in (one, two))
    assert ra["widths"] == rb["widths"] and ra["best_round"] == rb["best_round"]
    assert len((two / "metrics.csv").read_text().splitlines()) == 7


def children(pid):
    """Processes that `pid` has started and that still run."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("sent", "to_worker", "code", "words"),
    [
        (signal.SIGINT, False, 130, "go on with: splitmix train resume="),
        (signal.SIGKILL, False, -9, ""),
        (signal.SIGKILL, True, 2, "a worker process died (killed by signal 9 (SIGKILL))"),
    ],
)
def test_however_a_run_ends_no_worker_is_left_and_it_can_go_on(tmp_path, sent, to_worker, code, words):
    train = [sys.executable, "-m", "splitmix", "train", *SMALL, "engine.lanes=2", "engine.workers=2"]
    process = subprocess.Popen(
        [*train, "name=cut", "rounds=40"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("round 2/"):
            # They are children of their host, which is the only child of the command.
            workers = [worker for host in children(process.pid) for worker in children(host)]
            assert len(workers) == 2
            os.kill(workers[1] if to_worker else process.pid, sent)
            break
    output += process.stdout.read()
    assert process.wait() == code and words in output and "Traceback" not in output
    deadline = time.monotonic() + 10
    while any(running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(worker) for worker in workers)
    checkpoint = torch.load(the_run(tmp_path, "cut") / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["round"] >= 2 and checkpoint["engine"] == {}


MISTAKES = {
    "trian": "did you mean train",
    "train rouns=3": "unknown key rouns (did you mean rounds?)",
    "train algorithm=splitmx": "algorithm=splitmx: no such option (did you mean splitmix?)",
    "train algorithm.atom_with=0.5": "did you mean algorithm.atom_width",
    "train debug=quik": "debug=quik: no such option (did you mean quick?)",
    "train name=../x": "name=../x",
    "train --config-dir nowhere": "--config-dir nowhere: no such folder",
    "train +rouns=3": "unknown key rouns (did you mean rounds?)",
    "train +algorithm.foo=1": "unknown key algorithm.foo",
    "train rounds=many": "rounds=many: expected a whole number",
    "train rounds=0": "rounds=0: give at least 1",
    "train batch_size=-1": "batch_size=-1",
    "train val_fraction=1": "val_fraction=1",
    "train optimizer.lr=0": "optimizer.lr=0",
    "train optimizer.lr=nan": "optimizer.lr=nan",
    "train clients_per_round=51": "clients_per_round=51",
    "train clients_per_domain=300": "clients_per_domain=300",
    "train algorithm.atom_width=0.5": "below algorithm.atom_width=0.5",
    "train test.widths=0.3": "test.widths=0.3: width 0.3 is not a multiple",
    "train budget.widths=4-2 test.widths=1": "above the largest budget",
    "train model.bn=global": "model.bn=global: choose one of batch, tracked, local",
    "train algorithm=fedavg algorithm.width=0.25 test.widths=0.5": "trained a single network of width 0.25",
    "train algorithm=heterofl model.bn=tracked": "cannot share running statistics",
    "train model=alexnet": "model=alexnet needs images of at least 63x63",
    "report runs=nowhere": "runs=nowhere: matches no run",
    "train test.adv_lambdas=0.5": "dual batch normalisation",
    "train test.adv_lambdas=-1": "test.adv_lambdas=-1: give values from 0",
    "train algorithm.adv_lambda=2": "algorithm.adv_lambda=2: give a weight from 0",
    "train algorithm.adv_lambda=0.5 train_attack=none": "algorithm.adv_lambda=0.5 trains on attacked",
    "train algorithm.adv_lambda=0.5 train_attack.eps=300": "train_attack.eps=300: give a size in 1/255",
    "train train_attack=autoattack": "train_attack=autoattack: no such option",
    "train algorithm=heterofl algorithm.adv_lambda=0.5": "unknown key algorithm.adv_lambda",
    "train resume=nowhere": "resume=nowhere: not a run folder",
    "train resume=latest": "resume=latest: no run",
    "train hydra.run.dir=/proc/version/out": "/proc/version",
    "train engine.lanes=0": "engine.lanes=0: give at least 1, or auto",
    "train engine.workers=two": "engine.workers=two: give at least 1, or auto",
    "benchmark benchmark=speed": "benchmark=speed: no such workload",
    "benchmark repeats=0": "repeats=0: give at least 1",
    "benchmark out=nowhere/x.json": "the folder nowhere does not exist",
    "benchmark benchmrak=round": "unknown key benchmrak (did you mean benchmark?)",
    "test attack=pgd": "attack=pgd: no such option",
    "test attack=linf_pgd attack.linf_pgd.eps=0": "attack.linf_pgd.eps=0: give a size in 1/255",
    "test attack=linf_pgd attack.linf_pgd.step=3": "attack.linf_pgd.step",
    "test attack=[]": "attack=[]: give at least one option",
    "test run=nowhere": "run=nowhere: not a run folder",
    "test run=latest": "run=latest: no run",
    "test checkpoint=worst": "checkpoint=worst: choose best, last, or a round that checkpoint_rounds kept",
    "test checkpoint=../1": "checkpoint=../1: choose best, last, or a round",
    "train ~seed": "~seed: no key or group can be left out",
    "test ~run": "~run: no key or group can be left out",
    "train dataset=[]": "dataset=[]: give the name of one option",
    "train train_attack=[]": "train_attack=[]: give the name of one option",
    "train budget=null": "budget=null: a group cannot be null",
    "list what=[all]": "what=[all]: expected text",
    "test attack=[[none]]": "attack=[[none]]: give the name of one option",
    "list --cfg job --package nope": "package 'nope' not found",
    f"show run={'a' * 300}": "not a run folder",
    "train batch_size=100000000000000000000000": "batch_size=100000000000000000000000: too large",
    "train clients_per_domain=1000000000": "clients_per_domain=1000000000: give at most 100000",
    "train --resolve": "give --cfg job --resolve",
    "train --shell-completion install=bash": "--shell-completion: splitmix --completion bash|zsh|fish prints a script",
    "train rounds=2 --foo": "unrecognized arguments: --foo",
    "train seed=1,2": "seed=1,2: several values are a sweep; give -m, or seed=[1,2] for a list",
    "train -m seed=1,2 hydra.sweep.dir=/proc/version/out": "choose another hydra.sweep.dir",
    "train -m seed=range(0)": "seed=range(0): gives no value, so the sweep has no job",
    "data-show seed=true": "seed=true: expected a whole number",
    "profile repeats=true": "repeats=true: expected a whole number",
    "benchmark rounds=true": "rounds=true: expected a whole number",
    "report width=3": "width=3: give a width above 0 and up to 1",
    "train train_fraction=1.0000001": "train_fraction=1.0000001: give a share",
    "train optimizer.weight_decay=1e308": "optimizer.weight_decay=1e+308: give a value from 0 to 10",
    "train algorithm=sheterofl algorithm.candidates=abc": "candidates=abc: expected a list of numbers or null",
    "profile widths=0.3": "widths=0.3: width 0.3 is not a multiple",
    "test test.bn=magic": "test.bn=magic",
    "list hydra.searchpath=[/proc/nope]": "hydra.searchpath=[/proc/nope]: no such folder or package",
    "train -m seed=1,2 hydra.searchpath=[pkg://nope]": "hydra.searchpath=[pkg://nope]: no such folder or package",
    "list -m what=model hydra.launcher=null": "hydra.launcher: has no _target_; give hydra/launcher=basic",
}


@pytest.mark.parametrize(("command", "told"), mostly_slow(MISTAKES.items()), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(command, told, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capfd.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_keeps_its_numbers(inside, capfd):
    assert main(["train", f"resume={the_run(inside)}", "rounds=9"]) == 2
    assert "a resumed run keeps its own config" in capfd.readouterr().err
    assert main(["train", f"resume={the_run(inside)}", "engine.threads=1"]) == 0


def test_a_width_above_the_budget_of_the_run_is_refused(inside, capfd):
    assert main(["test", f"run={the_run(inside)}", "test.widths=0.5"]) == 2
    assert "above the largest budget" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["train", "test"])
def test_help_lists_keys_with_the_values_of_the_overrides(verb, capsys):
    overrides = ["rounds=7"] if verb == "train" else ["checkpoint=last"]
    assert main([verb, *overrides, "--help"]) == 0
    text = capsys.readouterr().out
    assert overrides[0] in text and "test.widths=auto" in text and "engine.threads=0" in text


def test_verbs_and_options_are_listed(capsys):
    assert main([]) == 0 and main(["list"]) == 0
    text = capsys.readouterr().out
    for word in ("train", "minidigits", "digit_cnn", "multi_step"):
        assert word in text


def test_a_mistake_beside_config_dir_leaves_no_folder_and_knows_the_users_options(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "budget").mkdir(parents=True)
    option = tmp_path / "mine" / "budget" / "tiny.yaml"
    option.write_text("# Mine.\n_target_: splitmix.federation.budgets.Groups\nwidths: '8-4'\n")
    assert main(["train", "--config-dir", "mine", "budget=tiny", "rounds=0"]) == 2
    assert main(["train", "--config-dir", "mine", "budget=tinny"]) == 2
    assert main(["train", "--config-dir", "mine", "budget=tiny", "--help"]) == 0
    said = capfd.readouterr()
    assert "did you mean tiny?" in said.err and "budget.widths=8-4" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_one_engine_key_beside_resume_leaves_its_neighbours(inside):
    resolved = read_config(the_run(inside))
    resolved["engine"]["precision"] = "64-true"
    fresh = {"engine": {**resolved["engine"], "precision": "32-true", "threads": 3}, "logger": resolved["logger"]}
    engine = changed(resolved, ["engine.threads=3"], fresh)["engine"]
    assert (engine["precision"], engine["threads"]) == ("64-true", 3)
    assert changed(resolved, ["engine=default"], fresh)["engine"] == fresh["engine"]


def test_showing_the_config_beside_resume_does_not_train(inside, capsys):
    before = sorted(inside.rglob("*"))
    assert main(["train", "resume=latest", "--cfg", "job"]) == 0
    assert "resume: latest" in capsys.readouterr().out and sorted(inside.rglob("*")) == before


def test_jobs_of_a_sweep_keep_their_logs_apart(tmp_path):
    for job in ("0", "1"):
        log_to_file(tmp_path / f"{job}.log")
        log.warning("job %s", job)
    assert "job 1" not in (tmp_path / "0.log").read_text() and "job 1" in (tmp_path / "1.log").read_text()


def test_a_failure_to_read_inside_the_task_is_no_mistake_of_the_users():
    def task(cfg):
        raise FileNotFoundError(2, "No such file or directory", "data.bin")

    with pytest.raises(FileNotFoundError):
        run_application("list", [], task)


def test_a_limit_of_open_files_is_told_with_its_mend(capfd):
    def task(cfg):
        raise OSError(errno.EMFILE, "Too many open files", "conf/list.yaml")

    assert run_application("list", [], task) == 2
    assert capfd.readouterr().err == "splitmix list: Too many open files: raise the limit (ulimit -n)\n"


@pytest.mark.slow
def test_flags_may_stand_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["list", "what=model", "--cfg", "job"]) == 0 and "what: model" in capsys.readouterr().out
    assert main(["list", "what=model,logger", "-m"]) == 0 and "sweep of 2 jobs" in capsys.readouterr().out
    assert main(["train", "rounds=3", "--cfg", "job", "seed=7", "--package", "optimizer"]) == 0
    assert "lr: 0.1" in capsys.readouterr().out


def test_the_version_is_told_by_every_verb(capsys):
    for words in (["--version"], ["train", "--version"]):
        assert main(words) == 0 and capsys.readouterr().out == f"splitmix {splitmix.__version__}\n"


OWN = """
from dataclasses import dataclass
from splitmix.federation.budgets import Groups
from torch import nn
@dataclass(frozen=True)
class Mine(Groups):
    name = "mine"
class Net(nn.Module): ...
"""


@pytest.fixture
def own_code(tmp_path):
    """A folder of options, the code that they name beside it, and a way to run a verb with them from elsewhere."""
    (tmp_path / "conf" / "budget").mkdir(parents=True)
    (tmp_path / "conf" / "model").mkdir()
    (tmp_path / "conf" / "budget" / "mine.yaml").write_text("# Mine.\n_target_: own_code.Mine\nwidths: '8-4'\n")
    (tmp_path / "conf" / "model" / "net.yaml").write_text("# A plain module.\n_target_: own_code.Net\n")
    (tmp_path / "own_code.py").write_text(OWN)
    (tmp_path / "elsewhere").mkdir()

    def run(*words):
        command = [sys.executable, "-m", "splitmix", *words, "--config-dir", str(tmp_path / "conf")]
        return subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_code_beside_ones_own_options_is_found(own_code):
    refused = own_code("train", "budget=mine", "model=net")
    assert refused.returncode == 2 and "model._target_=own_code.Net" in refused.stderr
    assert "use model=module with model.factory" in refused.stderr


@pytest.mark.slow
def test_code_beside_ones_own_options_is_found_by_jobs_in_other_processes(own_code):
    small = ["algorithm=fedavg", "algorithm.width=0.125", "engine.workers=1", "engine.lanes=1", "engine.threads=1"]
    words = ["train", "-m", "seed=1", "debug=quick", "budget=mine", "name=x", "rounds=1", *small]
    swept = own_code(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert swept.returncode == 0 and "the sweep is finished" in swept.stdout, swept.stderr


@pytest.mark.parametrize(
    ("word", "mend"),
    {
        "foo": "write key=value",
        "=3": "write key=value",
        "malicious.=3": "write key=value",
        "a b=3": "write key=value",
        "seed=[1,2": "a bracket is missing",
        "seed={a:1": "a bracket is missing",
        'name="abc': "a quotation mark is missing",
        "seed=1,": "a value is missing beside a comma",
        "seed=[,1]": "a value is missing beside a comma",
        "name=a#b": """needs quotation marks within the shell's: 'name="a#b"'""",
        "name=é": """'name="é"'""",
        "seed==3": """'seed="=3"'""",
    }.items(),
)
def test_a_word_that_cannot_be_read_says_what_to_write(word, mend, capfd):
    assert main(["train", word]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"splitmix train: {word}: cannot be read; ") and error.endswith(f"{mend}\n")


def test_the_quotation_marks_of_that_advice_help(capfd):
    assert main(["train", 'name="é#b"', "rounds=0"]) == 2
    assert capfd.readouterr().err == "splitmix train: rounds=0: give at least 1\n"
