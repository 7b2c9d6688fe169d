"""results.json: no writer loses what another one wrote; what it says is held against the folder."""

import json
import subprocess
import sys

import pytest

from splitmix.errors import UserError
from splitmix.federation import results as module
from splitmix.federation.results import changed_config, results_to_resume, status_now, update_results
from splitmix.locks import CLAIM, locked

ADD = """
import sys
from pathlib import Path
from splitmix.federation.results import update_results
for number in range(20):
    update_results(Path(sys.argv[1]), lambda results: results["tests"].append(f"{sys.argv[2]} {number}"))
"""


@pytest.mark.slow
def test_processes_that_write_at_once_keep_every_record(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": 1, "tests": []}))
    writers = [subprocess.Popen([sys.executable, "-c", ADD, str(path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    tests = json.loads(path.read_text())["tests"]
    assert sorted(tests) == sorted(f"{name} {number}" for name in "abc" for number in range(20))


def test_a_writer_waits_a_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.05)
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1}')
    with locked(tmp_path / module.RESULTS_LOCK, 0), pytest.raises(UserError, match="another process has been writing"):
        update_results(path, lambda results: results.clear())
    assert path.read_text() == '{"schema": 1}'


def test_a_change_that_fails_writes_nothing(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"schema": 1}')
    with pytest.raises(ZeroDivisionError):
        update_results(path, lambda results: 1 / 0)
    assert path.read_text() == '{"schema": 1}'
    assert update_results(path, lambda results: results.update(a=1))["a"] == 1


def test_a_run_that_nobody_trains_has_stopped(tmp_path):
    assert status_now(tmp_path, {"status": "running"}) == "stopped"
    assert status_now(tmp_path, {"status": "finished"}) == "finished"
    with locked(tmp_path / CLAIM, 0):
        assert status_now(tmp_path, {"status": "running"}) == "running"


def test_a_changed_config_is_told_and_not_resumed(tmp_path):
    config = {"seed": 1, "engine": {"lanes": 1}}
    digest = module.config_hash(config)
    (tmp_path / "results.json").write_text(json.dumps({"schema": 1, "config_hash": digest}))
    results = results_to_resume(tmp_path, {**config, "engine": {"lanes": 2}})
    assert changed_config(tmp_path, config, results) is None and changed_config(tmp_path, config, {}) is None
    with pytest.raises(UserError, match=r"config\.yaml was changed after the run began .* restore it, or train anew"):
        results_to_resume(tmp_path, {**config, "seed": 2})
