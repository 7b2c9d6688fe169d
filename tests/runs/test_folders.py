"""Run folders: none is overwritten, claimed twice, written through links, or tested by the hundred by mistake."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import config_of, write_run

from splitmix.commands import main
from splitmix.commands.train import newly_said
from splitmix.config_hash import config_hash, former_hash
from splitmix.errors import UserError
from splitmix.runs.folders import claimed, find_run, find_runs, unfinished_run


def write_whole_run(folder, **changes):
    """A run with checkpoints, which hold nothing."""
    write_run(folder, [], {1.0: 0.5}, **changes)
    (folder / "checkpoints").mkdir()
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.ckpt").touch()
    return folder


def state(folder):
    """All that a command may not touch, by path."""
    paths = [folder, *folder.rglob("*")]
    return {p: (p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else None) for p in paths}


@pytest.mark.parametrize("name", ["old", pytest.param("a = b's", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "holds a finished run; choose another folder"),
        ({"status": "running"}, "holds an unfinished run; go on with it by splitmix train "),
        ({"status": "interrupted"}, "holds an unfinished run; go on with it by splitmix train "),
        ("results.json", "training would overwrite config.yaml there"),
    ],
)
def test_training_in_the_folder_of_a_run_is_refused_and_changes_nothing(
    tmp_path, monkeypatch, capfd, name, change, told
):
    monkeypatch.chdir(tmp_path)
    run = write_whole_run(tmp_path / name, results=change if isinstance(change, dict) else {})
    if isinstance(change, str):
        (run / change).unlink()
    before = state(tmp_path)
    assert main(["train", f"hydra.run.dir={name}", "debug=quick"]) == 2
    error = capfd.readouterr().err.strip()
    assert told in error and len(error.splitlines()) == 1 and state(tmp_path) == before
    if "by splitmix" in told:
        command = shlex.split(error.partition("go on with it by splitmix ")[2].partition(", or choose")[0])
        assert main([*command, "rounds=9"]) == 2  # the folder is understood: only the key is not
        assert "a resumed run keeps its own config" in capfd.readouterr().err


def test_a_folder_name_that_hydra_makes_up_is_looked_at_too(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_whole_run(tmp_path / "outputs" / "train" / "x")
    assert main(["train", "hydra.run.dir=outputs/${hydra:job.name}/${name}", "name=x"]) == 2
    assert "hydra.run.dir=outputs/train/x: holds a finished run" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["train", "test"])
def test_a_link_in_a_run_folder_is_refused(tmp_path, monkeypatch, capfd, verb):
    monkeypatch.chdir(tmp_path)
    run = write_whole_run(tmp_path / "run", results={"status": "running"})
    victim = tmp_path / "victim"
    victim.touch()
    (run / "train.log").symlink_to(victim)
    assert main([verb, "resume=run" if verb == "train" else "run=run"]) == 2
    error = capfd.readouterr().err
    assert "train.log is a symbolic link" in error and len(error.strip().splitlines()) == 1
    assert victim.read_bytes() == b"" and not (run / ".claim").exists()


def test_a_claim_removes_what_a_killed_process_left(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".results.json.{gone.pid}.tmp"
    left.touch()
    with claimed(tmp_path):
        assert os.listdir(tmp_path) == [".claim"]


def test_several_runs_outside_outputs_are_tested_only_when_all_are_meant(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    inside = [write_whole_run(Path("outputs") / "x" / name) for name in ("a", "b")]
    outside = [write_whole_run(Path("other") / name) for name in ("a", "b")]
    assert find_runs("run", "outputs") == find_runs("run", "outputs/*/[ab]") == inside
    assert find_runs("run", "other/a*") == outside[:1]
    assert find_runs("run", [str(folder) for folder in outside]) == outside
    for text in ("other", "other/*", "."):
        with pytest.raises(UserError, match=r"reaches . runs, not all of them under .*all=true means them all"):
            find_runs("run", text)
    assert find_runs("run", "other", everything=True) == outside
    with pytest.raises(UserError, match="run= is empty"):
        find_runs("run", "", everything=True)  # and not all runs of the working folder
    assert main(["test", "run=other"]) == 2 and "all=true" in capfd.readouterr().err
    assert main(["test", "run=other", "all=maybe"]) == 2 and "all=maybe" in capfd.readouterr().err


@pytest.mark.parametrize("text", ["x" * 300, "a\0b", "", "/dev/null"])
def test_a_text_that_names_no_folder_is_a_mistake(text):
    for find in (find_run, find_runs):
        with pytest.raises(UserError):
            find("run", text)


def test_show_tells_a_run_that_nobody_trains_and_a_changed_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = write_whole_run(tmp_path / "a=b", results={"status": "running", "config_hash": "0" * 12})
    assert main(["show", "run=a=b"]) == 0
    text = capsys.readouterr().out
    assert "stopped" in text and "was changed after the run began (its hash is " in text
    with claimed(run):
        assert main(["show", "run=a=b"]) == 0
    assert "running" in capsys.readouterr().out
    assert main(["train", "resume=a=b"]) == 2
    assert json.loads((run / "results.json").read_text())["status"] == "running"


@pytest.mark.slow
def test_a_job_of_a_sweep_whose_results_are_damaged_is_left_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["train", "-m", "seed=1", "debug=quick", "name=x"]
    monkeypatch.setattr("splitmix.commands.sweep_runs.folder_of", lambda sweep, name: tmp_path / "run")
    write_whole_run(tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text("{")
    before = state(tmp_path)
    assert main(words) == 2
    assert "results.json" in capfd.readouterr().err and state(tmp_path) == before


def test_a_number_of_lanes_counts_as_said_only_where_it_is_another_one():
    stored = {"engine": {"lanes": 4, "workers": "auto"}}
    assert newly_said(stored, stored) == frozenset()
    assert newly_said(stored, {"engine": {"lanes": 4, "workers": 2}}) == {"workers"}
    assert newly_said(stored, {"engine": {"lanes": 1, "workers": "auto"}}) == {"lanes"}
    assert newly_said(stored, {"engine": {"lanes": "auto", "workers": "auto"}}) == frozenset()


def test_an_unfinished_run_of_an_earlier_version_goes_on_only_with_its_own_config(tmp_path, monkeypatch):
    """That version left test.max_images out of the hash."""
    monkeypatch.chdir(tmp_path)
    words = ("algorithm.adv_lambda=0.5", "test.max_images=100")
    folder = Path("outputs/x/former")
    write_run(folder, words, {1.0: 0.5}, status="interrupted", config_hash=former_hash(config_of(words)))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert former_hash(config_of(words)) != config_hash(config_of(words))
    assert unfinished_run(config_of(words)) == folder
    assert unfinished_run(config_of((words[0], "test.max_images=200"))) is None
    assert unfinished_run(config_of(words[:1])) is None
