"""report=time: accuracy against the seconds that rounds take on a simulated fleet."""

import pytest
from run_folders import write_run

from splitmix.commands.report import comparison_of
from splitmix.commands.run_files import current_results, load_run
from splitmix.reporting.comparison import CannotShow
from splitmix.reporting.kinds import make


def run(folder, words, widths, validation, seconds, started):
    """A run whose rounds took these simulated seconds; none leaves the column out."""
    write_run(folder, words, dict.fromkeys(widths, 0.9), validation=validation, started=started)
    if seconds:
        header, *rows = (folder / "metrics.csv").read_text().splitlines()
        rows = [f"{row},{value}" for row, value in zip(rows, seconds, strict=True)]
        (folder / "metrics.csv").write_text("\n".join([f"{header},simulated_s", *rows, ""]))
    return load_run(folder, current_results(folder))


def test_seconds_add_up_and_arrival_is_told(tmp_path):
    runs = [
        run(tmp_path / "1", ["seed=1"], (0.125, 1.0), (0.3, 0.7), (10, 20), "2026-01-01"),
        run(tmp_path / "2", ["seed=2"], (0.125, 1.0), (0.5, 0.9), (20, 20), "2026-01-02"),
        run(tmp_path / "3", ["algorithm=fedavg", "algorithm.width=0.125"], (0.125,), (0.2, 0.4), (5, 5), "2026-01-03"),
    ]
    part = make("time", comparison_of(runs, None))
    [table] = part.tables
    [axes] = part.drawings[0].figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines.keys() == {"Split-Mix ×1", "Split-Mix ×0.125", "FedAvg ×0.125"}
    assert list(lines["Split-Mix ×1"].get_xdata()) == [15, 35]
    assert list(lines["Split-Mix ×1"].get_ydata()) == pytest.approx([40, 80])
    rows = {entries[0].text: [entry.text for entry in entries[1:]] for entries in table.entries()}
    assert rows["Split-Mix ×1"] == ["2", "35", "80.0 ± 14.1", "35", "15"]
    assert rows["FedAvg ×0.125"] == ["2", "10", "40.0", "10", "10"]
    assert "40.0 %" in table.caption and not table.notes


def test_runs_without_a_fleet_are_left_out_or_refused(tmp_path):
    plain = run(tmp_path / "1", ["seed=1"], (1.0,), (0.3, 0.7), (), "2026-01-01")
    timed = run(tmp_path / "2", ["seed=2"], (1.0,), (0.5, 0.9), (20, 20), "2026-01-02")
    assert make("time", comparison_of([plain, timed], None)).tables[0].notes == [
        "1 runs without a fleet of known speeds are left out"
    ]
    with pytest.raises(CannotShow, match="simulate a fleet of known speeds"):
        make("time", comparison_of([plain], None))


def test_one_width_where_it_is_asked_for(tmp_path):
    timed = run(tmp_path / "1", ["seed=1"], (0.125, 0.5, 1.0), (0.5, 0.9), (20, 20), "2026-01-02")
    part = make("time", comparison_of([timed], 0.5))
    assert [row[0].text for row in part.tables[0].entries()] == ["Split-Mix ×0.5"]
