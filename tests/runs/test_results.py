"""results.json: no writer loses what another one wrote; what it says is held against the folder and the code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import anytime, measured, record, write_run

from splitmix.errors import UserError
from splitmix.locks import CLAIM, locked
from splitmix.runs import results as module
from splitmix.runs.results import add_tests, changed_config, git_commit, results_to_resume, status_now, update_results

TESTS = Path(__file__).parents[1]
ADD = """
import sys
from pathlib import Path
sys.path.append(sys.argv[3])
from run_folders import record
from splitmix.runs.results import update_results
for number in range(20):
    new = record(1.0, 0.5, command=f"{sys.argv[2]} {number}")
    update_results(Path(sys.argv[1]), lambda results: results["tests"].append(new))
"""


@pytest.mark.slow
def test_processes_that_write_at_once_keep_every_record(tmp_path):
    path = write_run(tmp_path / "run", [], {1.0: 0.5}) / "results.json"
    update_results(path, lambda results: results.update(tests=[]))
    writers = [subprocess.Popen([sys.executable, "-c", ADD, str(path), name, str(TESTS)]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    tests = json.loads(path.read_text())["tests"]
    assert sorted(test["command"] for test in tests) == sorted(
        f"{name} {number}" for name in "abc" for number in range(20)
    )


def test_a_writer_waits_a_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.05)
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1}')
    with locked(tmp_path / module.RESULTS_LOCK, 0), pytest.raises(UserError, match="another process has been writing"):
        update_results(path, lambda results: results.clear())
    assert path.read_text() == '{"schema": 1}'


def test_a_change_that_fails_writes_nothing(tmp_path):
    path = write_run(tmp_path / "run", [], {1.0: 0.5}) / "results.json"
    before = path.read_text()
    with pytest.raises(ZeroDivisionError):
        update_results(path, lambda results: 1 / 0)
    assert path.read_text() == before
    assert update_results(path, lambda results: results.update(a=1))["a"] == 1


PLACES = {"widths": [1.0], "adv_lambdas": [0.0], "accuracy": [0.5], "worst": 0.4}
EXTRAS = {"transfer": PLACES, "sanity": {"eps": [8.0]}, "loss": 1.5, "low": 0.4, "high": 0.6}


def test_metrics_of_a_former_test_of_the_same_model_are_kept():
    former = record(
        1.0,
        0.5,
        round=3,
        anytime=anytime(),
        corruptions={"jpeg": [0.5] * 5},
        **EXTRAS,
        **measured(0.5, ("f1", "nll")),
    )
    again = record(1.0, 0.5, round=3, command="again", **measured(0.6, ("nll",)))
    del again["confusion_matrix"]
    results = {"tests": [record(0.5, 0.5), former]}
    add_tests(results, [again])
    [other, merged] = results["tests"]
    assert other == record(0.5, 0.5) and merged["command"] == "again"
    assert [merged["metrics"][name]["pooled"] for name in ("f1", "nll")] == [0.5, 0.6]
    assert (
        all(merged[key] == former[key] for key in ("confusion_matrix", "anytime", "corruptions", *EXTRAS))
        and "f1" not in again["metrics"]
    )
    # A later round, or another accuracy, is another model; of an unknown round nobody can say.
    for changes in ({"round": 4}, {"round": 3, "per_client": [0.1] * 4}, {}):
        results = {"tests": [former if changes else {k: v for k, v in former.items() if k != "round"}]}
        add_tests(results, [record(1.0, 0.5, **changes)])
        assert "metrics" not in results["tests"][0] and "confusion_matrix" not in results["tests"][0]


def test_a_run_that_nobody_trains_has_stopped(tmp_path):
    assert status_now(tmp_path, {"status": "running"}) == "stopped"
    assert status_now(tmp_path, {"status": "finished"}) == "finished"
    with locked(tmp_path / CLAIM, 0):
        assert status_now(tmp_path, {"status": "running"}) == "running"


def test_a_changed_config_is_told_and_not_resumed(tmp_path):
    config = {"seed": 1, "engine": {"lanes": 1}}
    run = write_run(tmp_path / "run", [], {1.0: 0.5}, config_hash=module.config_hash(config))
    results = results_to_resume(run, {**config, "engine": {"lanes": 2}})
    assert changed_config(run, config, results) is None and changed_config(run, config, {}) is None
    with pytest.raises(UserError, match=r"config\.yaml was changed after the run began .* restore it, or train anew"):
        results_to_resume(run, {**config, "seed": 2})


def git(folder, *words):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package at its top, as in a checkout of splitmix."""
    (tmp_path / "splitmix").mkdir()
    for name in ("pyproject.toml", "splitmix/__init__.py"):
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_commit_of_a_checkout(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout / "splitmix") == commit and len(commit) == 40
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))
    assert git_commit(checkout / "splitmix") == commit


def test_no_commit_of_a_repository_that_surrounds_an_installed_package(checkout):
    for place, tracked in (("venv/lib/site-packages", False), ("vendor", True)):
        package = checkout / place / "splitmix"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        if tracked:
            git(checkout, "add", ".")
            git(checkout, "commit", "-q", "-m", "vendored")
        assert git_commit(package) is None


def test_no_commit_where_the_package_is_not_tracked_or_there_is_no_repository(checkout, tmp_path_factory):
    git(checkout, "rm", "-q", "--cached", "splitmix/__init__.py")
    git(checkout, "commit", "-q", "-m", "without")
    assert git_commit(checkout / "splitmix") is None
    outside = tmp_path_factory.mktemp("outside") / "splitmix"
    outside.mkdir()
    assert git_commit(outside) is None
