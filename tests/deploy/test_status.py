"""splitmix status: tables, live until the run ends, and the page."""

import json

import pytest
from run_folders import write_run

from splitmix.commands import main, status
from splitmix.deploy.journal import ACCEPTED, EVALUATIONS, FAILED, REFUSED, Entry, Journal
from splitmix.deploy.status_page import write_page


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "run", [], {1.0: 0.9})
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    entries = [Entry(0, "a", ACCEPTED, "", 1.25, 0.5, 2_000_000, 1_000_000), Entry(0, "b<i>", REFUSED, "NaN & more")]
    Journal(folder / "rounds.jsonl").add(entries)
    return folder


def test_tables_and_page(run, capsys):
    Journal(run / EVALUATIONS).add([Entry(0, "a", "val", "", 1.0, None, 3_000_000, 500_000)] * 2)
    assert main(["status", f"run={run}", "page=true"]) == 0
    said = capsys.readouterr().out
    assert (
        "finished, 1 of 25 rounds" in said
        and "NaN & more" in said
        and "6.00 MB down and 1.00 MB up" in " ".join(said.split())
    )
    assert str(run / "status.html") in said
    page = (run / "status.html").read_text()
    assert "b&lt;i&gt;" in page and "<i>" not in page and "NaN &amp; more" in page
    assert "1.2 s<br>loss 0.5000<br>2.00 / 1.00 MB" in page
    assert "refresh" not in page


def test_a_long_reason_leaves_room_for_the_rest(run, capsys):
    Journal(run / "rounds.jsonl").add([Entry(1, "a", FAILED, "the node is not there any more, " * 9)])
    assert main(["status", f"run={run}"]) == 0
    said = capsys.readouterr().out
    assert "0.5000" in said and "2.00" in said and "failed 1: the node is" in " ".join(said.split())
    assert max(map(len, said.splitlines()[2:])) <= 100


def test_a_page_of_a_run_that_runs_is_shown_anew(run):
    assert 'http-equiv="refresh"' in write_page(run, "running", 25, []).read_text()


def test_watching_ends_with_the_run(run, capsys, monkeypatch):
    states = iter(["running", "running", "running", "finished"])
    monkeypatch.setattr("splitmix.runs.results.status_now", lambda folder, results: next(states))
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            Journal(run / "rounds.jsonl").add([Entry(1, "a", ACCEPTED, "", 1.0, 0.25)])

    monkeypatch.setattr(status, "sleep", nap)
    assert main(["status", f"run={run}", "watch=true"]) == 0
    said = capsys.readouterr().out
    # Told at first, not again while nothing changes, after the second round, and at the end.
    assert len(naps) == 3 and said.count("Clients over all rounds") == 3
    assert said.index("running, 1 of 25") < said.index("running, 2 of 25") < said.index("finished, 2 of 25")
    assert json.loads((run / "results.json").read_text())["status"] == "finished"
