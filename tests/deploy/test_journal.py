"""The journal of a deployment: what it keeps, what a resumed run drops, and its tables."""

import pytest

from splitmix.deploy.journal import Entry, Journal, read_journal
from splitmix.deploy.summary import client_rows, round_rows
from splitmix.errors import UserError

ENTRIES = [
    Entry(0, "a", "accepted", "", 2.0, 0.5, 100, 90, 1.5),
    Entry(0, "b", "refused", "not finite: x", 3.0, None, 100, 90),
    Entry(1, "a", "accepted", "", 4.0, 0.25, 100, 90),
    Entry(1, "b", "missing", "no answer in 9 s", 9.0, None, 100, 0),
]


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "rounds.jsonl")
    journal.add(ENTRIES)
    return journal


def test_entries_survive_and_a_half_written_line_does_not(journal):
    with open(journal.path, "a") as file:
        file.write('{"round": 2, "cl')
    assert read_journal(journal.path) == ENTRIES


def test_a_damaged_line_is_named(journal):
    journal.path.write_text("{}\n" + journal.path.read_text())
    with pytest.raises(UserError, match="line 1 is damaged"):
        read_journal(journal.path)


def test_a_resumed_run_repeats_rounds(journal):
    assert journal.accepted("a", 2) == 1 and journal.accepted("a", 1) == 0
    assert journal.accepted("a", 0) is None and journal.accepted("b", 9) is None
    journal.drop_from(1)
    assert read_journal(journal.path) == ENTRIES[:2] == journal.entries


def test_only_bad_updates_count_towards_quarantine(journal):
    journal.add([Entry(2, "b", "refused"), Entry(3, "b", "late")])
    assert journal.quarantined(3) == set() and journal.quarantined(2) == {"b"}


def test_tables_say_who_was_left_out_and_why():
    rows = client_rows(ENTRIES)
    assert rows[1] == ["a", "2", "2", "3.0", "1.5", "0.2500", "0.00", "0.00", "-"]
    assert rows[2][:4] == ["b", "0", "never", "-"]
    assert rows[2][-1] == "refused 1, missing 1: no answer in 9 s"
    assert round_rows(ENTRIES)[2] == ["1", "b", "refused", "3.0", "-", "not finite: x"]
