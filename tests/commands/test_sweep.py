"""Sweeps: found mistakes leave nothing behind, one failed job stops no other, the same command goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf
from variants import mostly_slow

from splitmix.commands import main
from splitmix.commands import train as train_verb
from splitmix.commands.help import composed
from splitmix.commands.messages import one_line
from splitmix.commands.sweep_runs import can_go_on, folder_of, former_folder, slug
from splitmix.config import resolve
from splitmix.config_hash import former_hash
from splitmix.errors import UserError
from splitmix.runs import training
from splitmix.runs.folders import claimed

TINY = ["debug=quick", "name=x", "rounds=1", "algorithm=fedavg", "algorithm.width=0.125", "engine.workers=1"]
TINY += ["engine.lanes=1", "engine.threads=1", "clients_per_domain=1", "test.max_images=20"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def statuses(folder):
    """Status by folder of a sweep."""
    files = sorted((folder / "outputs" / "x").glob("*/results.json"))
    return {file.parent.name: json.loads(file.read_text())["status"] for file in files}


def test_a_folders_name_says_what_is_special_and_suits_every_file_system():
    words = ["experiment=digits_fedavg", "algorithm=fedavg", "algorithm.width=0.25", "name=x", "engine.threads=1"]
    assert slug([*words, "seed=3", "debug=quick"], 3) == "fedavg_width-0.25_seed-3"
    assert slug(["algorithm.rescale_init=True", "clients_per_round=null"], 1) == (
        "rescale_init-true_clients_per_round-null_seed-1"
    )
    assert slug([], 7) == "seed-7"
    odd = slug(["dataset.root='C:/a b*?<>|\"'", "+algorithm.x=" + "y" * 300], 1)
    assert (
        odd.startswith("root-C-a-b_x-yyy")
        and len(odd) <= 107
        and set(odd) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    )


def test_the_same_config_finds_its_folder_under_another_readable_name(tmp_path):
    (tmp_path / "lr-0.1_seed-1_0123abcd").mkdir()
    assert folder_of(tmp_path, "seed-1_0123abcd").name == "lr-0.1_seed-1_0123abcd"
    assert folder_of(tmp_path, "seed-1_4567abcd").name == "seed-1_4567abcd"
    assert not can_go_on(tmp_path / "lr-0.1_seed-1_0123abcd")


@pytest.mark.slow
def test_failed_jobs_stop_no_other_and_the_same_command_tries_only_them_again(here, capfd):
    command = ["train", "-m", "optimizer.lr=1e30,-1,0.1", *TINY]
    assert main(command) == 2
    said = capfd.readouterr()
    assert "sweep of 3 jobs, 2 to run" in said.out and "job 2/2: " in said.out
    lines = said.err.strip().splitlines()
    assert len(lines) == 3 and "Traceback" not in said.err
    assert any("optimizer.lr=-1: give a learning rate above 0" in line for line in lines)
    assert any("lr-1e-30" in line and "loss became" in line for line in lines)
    assert "2 of 3 jobs failed" in lines[-1]
    assert sorted(statuses(here).values()) == ["failed", "finished"]
    [finished] = [here / "outputs" / "x" / name for name, status in statuses(here).items() if status == "finished"]
    before = (finished / "results.json").stat().st_mtime_ns
    assert main(command) == 2
    said = capfd.readouterr()
    assert "finished already: " in said.out and "sweep of 3 jobs, 1 to run" in said.out
    assert (finished / "results.json").stat().st_mtime_ns == before and len(statuses(here)) == 2


@pytest.mark.slow
def test_a_bug_in_one_job_keeps_its_traceback_and_stops_no_other(here, capfd, monkeypatch):
    train = training.run_training

    def broken(config, *arguments, **settings):
        if config.scalars.seed == 1:
            raise ZeroDivisionError("a bug")
        train(config, *arguments, **settings)

    monkeypatch.setattr(training, "run_training", broken)
    assert main(["train", "-m", "seed=1,2", *TINY]) == 1
    error = capfd.readouterr().err
    assert "Traceback" in error and "ZeroDivisionError: a bug" in error.splitlines()[-2]
    assert list(statuses(here).values()) == ["finished"]


class Watching(Callback):
    """Counts what Hydra tells callbacks."""

    said: ClassVar[list[str]] = []

    def on_multirun_start(self, config, **kwargs):
        self.said.append("start")

    def on_job_end(self, config, job_return, **kwargs):
        self.said.append(job_return.status.name)

    def on_multirun_end(self, config, **kwargs):
        self.said.append("end")


@pytest.mark.slow
def test_callbacks_hear_of_the_sweep_and_of_failed_jobs(here, monkeypatch, capfd):
    def trained(config, folder, resolved, resume=False, **more):
        if config.scalars.seed == 2:
            raise UserError("does not work")

    monkeypatch.setattr(train_verb, "train_in", trained)
    monkeypatch.setitem(sys.modules, "watching", SimpleNamespace(Watching=Watching))
    Watching.said.clear()
    assert main(["train", "-m", "seed=1,2,3", "+hydra.callbacks.it._target_=watching.Watching", *TINY]) == 2
    assert Watching.said == ["start", "COMPLETED", "FAILED", "COMPLETED", "end"]
    assert "seed-2" in capfd.readouterr().err


@pytest.mark.slow
def test_a_batch_of_jobs_is_launched_at_once(here, monkeypatch, capfd):
    launched = []
    make = Plugins.instantiate_launcher

    def spied(self, *arguments, **keywords):
        launcher = make(self, *arguments, **keywords)
        launch = launcher.launch

        def spied_launch(job_overrides, initial_job_idx):
            launched.append((initial_job_idx, len(job_overrides)))
            return launch(job_overrides, initial_job_idx)

        launcher.launch = spied_launch
        return launcher

    monkeypatch.setattr(Plugins, "instantiate_launcher", spied)
    monkeypatch.setattr(train_verb, "train_in", lambda *arguments, **settings: None)
    assert main(["train", "-m", "seed=1,2,3", "hydra.sweeper.max_batch_size=2", *TINY]) == 0
    assert launched == [(0, 2), (2, 1)] and "job 3/3: " in capfd.readouterr().out


def test_another_sweeper_is_refused_in_one_line(here, capfd):
    (here / "own" / "hydra" / "sweeper").mkdir(parents=True)
    (here / "own" / "hydra" / "sweeper" / "clever.yaml").write_text("_target_: hydra_plugins.clever.Sweeper\n")
    assert main(["train", "-m", "--config-dir", "own", "hydra/sweeper=clever", "seed=1,2", *TINY]) == 2
    error = capfd.readouterr().err
    assert "hydra/sweeper: hydra_plugins.clever.Sweeper would not be used" in error and error.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["own"]


@pytest.mark.parametrize(
    ("command", "told"),
    mostly_slow(
        {
            "train -m seed=1,2 hydra.sweeper.max_batch_size=0": "hydra.sweeper.max_batch_size=0: give at least 1",
            "train -m seed=1,2 rouns=3": "unknown key rouns (did you mean rounds?)",
            "train -m seed=1,2 rounds=0": "rounds=0: give at least 1",
            "train -m seed=1,2 clients_per_domain=300": "clients_per_domain=300",
            "train -m algorithm=foo,bar": "algorithm=foo: no such option",
            "train -m dataset=digits,cifar10": "(and other jobs have other mistakes, 2 in all)",
            "train -m seed=1,2 resume=latest": "a sweep goes on by itself",
            "train -m experiment=mini_widths,mini_budgets": "an experiment brings its own grid",
            "train experiment=mini_widths,mini_budgets": "an experiment brings its own grid",
            "train experiment=digits_splitmix": "dataset.root=data/digits",
            "train experiment=mini_widths algorithm=splitmix,fedrolex optimizer.lr=0": "optimizer.lr=0",
            "train -m malicious=noise,sign_flip malicious.sare=1": "malicious.sare (did you mean malicious.share?)",
            "train experiment=mini_poison malicious.shar=1 aggregation=mean seed=1": (
                "malicious.shar (did you mean malicious.share?)"
            ),
            "train experiment=mini_poison seed=1 aggregation=mean malicious.share=2": "malicious.share=2",
            "train --run experiment=mini_poison malicious.share=0.2": "unknown key malicious.share",
            "train experiment=mini_poison model.shar=1": "unknown key model.shar",
            "train --foo": "unrecognized arguments: --foo",
            "test -m test.widths=0.25,0.5": "run=latest: no run with a checkpoint",
            "list -m what=model,nothing": "what=nothing: no such group",
        }.items()
    ),
)
def test_a_mistake_leaves_no_folder(command, told, here, capfd):
    assert main(command.split()) == 2
    assert told in capfd.readouterr().err and list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "shares"),
    {
        "-m malicious=noise,sign_flip malicious.share=0.5": [0.5, 0.5],
        "-m malicious.share=0.25,0.5 malicious=noise": [0.25, 0.5],
        "experiment=mini_poison malicious=noise,backdoor malicious.share=0.5 seed=1 aggregation=mean": [0.5, 0.5],
        "experiment=mini_poison malicious.share=0.5 seed=1 aggregation=median": [0.5] * 5,
    }.items(),
)
def test_a_key_that_only_the_swept_options_have_is_for_the_jobs(words, shares, here, monkeypatch):
    configs = []
    monkeypatch.setattr(train_verb, "train_in", lambda config, *arguments, **settings: configs.append(config))
    assert main(["train", *words.split(), *TINY]) == 0
    assert [config.malicious.share for config in configs] == shares
    assert len({(type(config.malicious), config.malicious.share) for config in configs}) == len(shares)


def test_a_private_run_whose_epsilon_cannot_be_computed_leaves_no_folder(here, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    assert main(["train", *TINY, "privacy=dp_fedavg", "privacy.noise_multiplier=1.234"]) == 2
    assert "pip install 'splitmix[privacy]'" in capfd.readouterr().err and list(here.iterdir()) == []


@pytest.mark.slow
def test_an_experiment_is_a_sweep_and_the_command_line_replaces_its_axes(here, capfd):
    words = [word for word in TINY if not word.startswith("algorithm")]
    assert main(["train", "experiment=mini_widths_fedavg", "algorithm.width=0.125", "seed=1", *words]) == 0
    assert "sweep of 1 job, 1 to run" in capfd.readouterr().out
    assert list(statuses(here).values()) == ["finished"]


@pytest.mark.slow
def test_run_trains_an_experiment_once_without_its_grid(here, monkeypatch, capfd):
    configs = []
    monkeypatch.setattr(train_verb, "train_in", lambda config, *arguments, **settings: configs.append(config))
    words = [word for word in TINY if not word.startswith("algorithm")]
    assert main(["train", "experiment=mini_widths_fedavg", "algorithm.width=0.125", *words, "--run"]) == 0
    [config] = configs
    assert config.algorithm.name == "fedavg" and config.algorithm.width == 0.125 and config.scalars.seed == 1
    assert "sweep" not in capfd.readouterr().out
    [folder] = (here / "outputs" / "x").iterdir()
    assert (folder / ".hydra" / "overrides.yaml").is_file() and not (here / "multirun.yaml").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    {
        "-m --run seed=1,2": "--run and -m: give one of them",
        "--run --cfg job": "--run and --cfg: give one of them",
        "--run seed=1,2": "seed=1,2: several values are a sweep; give -m, or seed=[1,2] for a list",
        "--run experiment=mini_widths seed=range(3)": "seed=range(3): several values are a sweep; give -m",
        "--run experiment=mini_widths rounds=0": "rounds=0: give at least 1",
    }.items(),
)
def test_run_is_one_run(words, told, here, capfd):
    assert main(["train", *words.split()]) == 2
    error = capfd.readouterr().err
    assert told in error and error.count("\n") == 1 and list(here.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    code = "import sys; from pathlib import Path; from splitmix.runs.folders import claimed\n"
    code += "with claimed(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(UserError, match="another process is training this run"), claimed(tmp_path):
        pass
    other.kill()
    other.wait()
    with claimed(tmp_path):
        pass


@pytest.mark.slow
def test_testing_many_runs_goes_on_past_one_that_cannot_be_tested(here, capfd):
    assert main(["train", "-m", "seed=1,2", *TINY]) == 0
    good, bad = (here / "outputs" / "x" / name for name in statuses(here))
    (bad / "checkpoints" / "best.ckpt").write_bytes(b"no checkpoint")
    assert main(["test", "run=outputs/x/*seed-*", "test.bn=post", "test.max_images=20"]) == 2
    error = capfd.readouterr().err
    assert "1 of 2 runs could not be tested" in error and bad.name in error
    assert [record["bn"] for record in json.loads((good / "results.json").read_text())["tests"]] == ["trained", "post"]
    assert main(["test", "-m", f"run={good.relative_to(here)}", "test.bn=trained,post", "test.max_images=10"]) == 0
    assert sorted(path.name for path in here.iterdir()) == ["outputs"]
    assert main(["test", "run=outputs/x/*seed-9*"]) == 2
    assert "matches no run" in capfd.readouterr().err


def test_a_launcher_that_is_not_installed_names_its_extra():
    error = MissingConfigException("In 'train': Could not find 'hydra/launcher/submitit_slurm'", "x", ["basic"])
    assert one_line(error) == "hydra/launcher=submitit_slurm: not installed; pip install 'splitmix[slurm]'"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_sweep_cut_in_the_middle_of_a_job_goes_on(tmp_path, sent, code):
    words = [word for word in TINY if not word.startswith("rounds")]
    command = [sys.executable, "-m", "splitmix", "train", "-m", "seed=1,2,3", "rounds=6", *words]
    cut = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    second, output = False, ""
    for line in cut.stdout:
        output += line
        second = second or line.startswith("job 2/3")
        if second and line.startswith("round 2/"):
            cut.send_signal(sent)
            break
    output += cut.stdout.read()
    assert cut.wait() == code and "Traceback" not in output and "job 3/3" not in output
    assert list(statuses(tmp_path).values()) == ["finished", "running" if code == -9 else "interrupted"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "finished already" in again.stdout and "sweep of 3 jobs, 2 to run" in again.stdout
    first, _, later = again.stdout.partition("job 2/2")
    assert "resuming " in first and "round 1/6" not in first and "round 6/6" in first
    assert "round 1/6" in later
    assert list(statuses(tmp_path).values()) == ["finished"] * 3
    for file in tmp_path.glob("outputs/x/*/metrics.csv"):
        assert len(file.read_text().splitlines()) == 7


@pytest.mark.slow
def test_jobs_beside_each_other_write_to_their_own_console_log(tmp_path):
    command = [sys.executable, "-m", "splitmix", "train", "-m", "optimizer.lr=0.1,1e30", "hydra/launcher=joblib"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *TINY], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "1 of 2 jobs failed" in done.stderr and "round 1/1" not in done.stdout
    assert "finished after" in done.stdout and "failed after" in done.stdout
    logs = {Path(log).parent.name: Path(log).read_text() for log in tmp_path.glob("outputs/x/*/console.log")}
    assert len(logs) == 2 and any("round 1/1" in text for text in logs.values())


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_found_under_the_hash_of_that_version(tmp_path):
    """It left test.max_images out, which decides the best round of adversarial training."""
    words = ["algorithm.adv_lambda=0.5", "test.max_images=100"]
    resolved = resolve(composed("train", words))
    former = tmp_path / f"seed-1_{former_hash(resolved)[:8]}"
    former.mkdir()
    (former / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(resolved)))
    assert former_folder(tmp_path, "seed-1", resolved) == former
    for other in (["algorithm.adv_lambda=0.5", "test.max_images=200"], ["algorithm.adv_lambda=0.5"], []):
        assert former_folder(tmp_path, "seed-1", resolve(composed("train", other))) is None
