"""How far λ turns against rounds: numbers and intervals by hand from synthetic runs, and when it cannot be shown."""

import pandas as pd
import pytest
from run_folders import attacked, write_run

from splitmix.commands.report import comparison_of
from splitmix.commands.run_files import current_results, load_run
from splitmix.reporting.comparison import CannotShow
from splitmix.reporting.kinds import make

DAT = ["algorithm.adv_lambda=0.5", "model.bn=tracked", "checkpoint_rounds=[5,25]"]


def comparison(tmp_path, *tests, seeds=(1,)):
    """Of a run for each seed and its test records."""
    runs = []
    for seed, of_seed in zip(seeds, tests, strict=True):
        folder = write_run(tmp_path / str(seed), [*DAT, f"seed={seed}"], {1.0: 0.9}, tests=of_seed)
        runs.append(load_run(folder, current_results(folder)))
    return comparison_of(runs, None)


def kept(number, sa, ra, **changes):
    """Records of width 1 at λ 0 and 1 of a kept round."""
    points = {(1.0, float(level)): pair for level, pair in enumerate(zip(sa, ra, strict=True))}
    return [{**one, "checkpoint": str(number), "round": number, **changes} for one in attacked(points)]


def test_gain_and_cost_by_round_with_the_interval_of_one_seed(tmp_path):
    tests = kept(25, (0.90, 0.80), (0.40, 0.55)) + kept(5, (0.70, 0.70), (0.20, 0.20))
    # Half of the clients win 25 points, half 5: the mean of four drawn clients is 5, 10, 15, 20 or 25.
    [robust] = [test for test in tests if test["adv_lambda"] == 1 and test["accuracy"] == 0.55]
    robust["per_client"] = [0.75, 0.75, 0.35, 0.35]
    part = make("dial", comparison(tmp_path, tests))
    [table] = part.tables
    assert [[entry.text for entry in row][1:] for row in table.entries()] == [
        ["5", "×1", "SA", "70.0 (60.0 to 80.0)", "70.0 (60.0 to 80.0)", "0.0 (0.0 to 0.0)"],
        ["5", "×1", "RA", "20.0 (10.0 to 30.0)", "20.0 (10.0 to 30.0)", "0.0 (0.0 to 0.0)"],
        ["25", "×1", "SA", "90.0 (80.0 to 100.0)", "80.0 (70.0 to 90.0)", "10.0 (10.0 to 10.0)"],
        ["25", "×1", "RA", "40.0 (30.0 to 50.0)", "55.0 (35.0 to 75.0)", "15.0 (5.0 to 25.0)"],
    ]
    last = pd.DataFrame(table.numbers).to_dict("records")[-1]
    assert {key: round(last[f"ra_gain_{key}"], 6) for key in ("mean", "low", "high")} == {
        "mean": 0.15, "low": 0.05, "high": 0.25
    }  # fmt: skip
    gain, cost = part.drawings[0].figure.axes
    assert [line.get_ydata().tolist() for line in (gain.lines[0], cost.lines[0])] == [
        pytest.approx([0, 15]), pytest.approx([0, 10])
    ]  # fmt: skip


def test_several_seeds_show_their_deviation(tmp_path):
    tests = [kept(5, (0.9, 0.8), (0.4, ra)) for ra in (0.5, 0.6)]
    [table] = make("dial", comparison(tmp_path, *tests, seeds=(1, 2))).tables
    assert [entry.text for entry in table.entries()[1]][-1] == "15.0 ± 7.1"


def test_a_round_without_both_ends_cannot_be_shown(tmp_path):
    tests = [test for test in kept(5, (0.9, 0.8), (0.4, 0.5)) if test["adv_lambda"] == 0]
    for records in (tests, attacked({(1.0, 0.0): (0.9, 0.4), (1.0, 1.0): (0.8, 0.5)}), []):
        with pytest.raises(CannotShow, match=r"splitmix test run=<folder> checkpoint=10"):
            make("dial", comparison(tmp_path / str(len(records)), records))


def test_recorded_intervals_stand_beside_sa_and_ra(tmp_path):
    tests = attacked({(1.0, 0.0): (0.9, 0.4), (1.0, 1.0): (0.8, 0.5)})
    for test in tests:
        test |= {"low": test["accuracy"] - 0.05, "high": test["accuracy"] + 0.05}
    [table] = make("tradeoff", comparison(tmp_path, tests)).tables
    assert [entry.text for entry in table.entries()[0]][2:] == ["90.0 (85.0 to 95.0)", "40.0 (35.0 to 45.0)"]
    assert any("95 % interval" in note for note in table.notes)
    assert pd.DataFrame(table.numbers)["ra_high"].tolist() == pytest.approx([0.45, 0.55])
