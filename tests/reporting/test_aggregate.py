"""Tables over runs: means and deviations by hand, seeds that are missing, runs that cannot be put together."""

import json
import math

import pytest

from splitmix.commands import main
from splitmix.errors import UserError
from splitmix.reporting.aggregate import width_accuracies


def result(algorithm, seed, accuracies, **changes):
    widths = {str(width): {"sa": sa, "macs": 1.0, "params": 1} for width, sa in accuracies.items()}
    base = {"schema": 1, "algorithm": algorithm, "dataset": "minidigits", "model": "digit_cnn", "seed": seed}
    return {**base, "started": f"2026-01-0{seed}", "status": "finished", "widths": widths, **changes}


RUNS = [
    result("splitmix", 1, {0.125: 0.80, 0.375: 0.82, 1.0: 0.86}),
    result("splitmix", 2, {0.125: 0.84, 0.375: 0.83, 1.0: 0.90}),
    result("fedavg", 1, {0.125: 0.79}),
    result("fedavg", 2, {0.125: 0.75}),
    result("fedavg", 1, {1.0: 0.91}),
]


def test_mean_and_deviation_over_seeds():
    table = width_accuracies(RUNS)
    assert table.widths == (0.125, 1.0)  # 0.375 is of one method alone
    cell = table.cells["splitmix"][0.125]
    # Mean of 0.80 and 0.84; sample deviation 0.04 / sqrt(2).
    assert cell.mean == pytest.approx(0.82) and cell.std == pytest.approx(0.04 / math.sqrt(2))
    assert table.rows() == [
        ["method", "×0.125", "×1"],
        ["splitmix", "82.0 ± 2.8", "88.0 ± 2.8"],
        ["fedavg", "77.0 ± 2.8", "91.0"],
    ]
    assert table.missing() == ["fedavg ×1 lacks seed 2"]
    assert table.markdown().splitlines()[1:3] == ["| --- | --- | --- |", "| splitmix | 82.0 ± 2.8 | 88.0 ± 2.8 |"]
    assert table.csv().splitlines()[-1] == "fedavg,1,0.910000,,1"
    assert width_accuracies(RUNS[:2]).widths == (0.125, 0.375, 1.0)


def test_the_later_of_two_equal_runs_counts_and_models_are_told_apart():
    again = result("splitmix", 1, {0.125: 0.10}, started="2026-02-01")
    assert width_accuracies([again, RUNS[0]]).cells["splitmix"][0.125].mean == pytest.approx(0.10)
    other = result("splitmix", 1, {0.125: 0.5, 1.0: 0.5}, model="preresnet18")
    assert list(width_accuracies([RUNS[0], other]).cells) == ["splitmix digit_cnn", "splitmix preresnet18"]


def test_different_datasets_are_refused():
    with pytest.raises(UserError, match="of the datasets digits, minidigits"):
        width_accuracies([RUNS[0], result("splitmix", 1, {0.125: 0.5}, dataset="digits")])


def test_the_verb(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for number, run in enumerate([*RUNS, result("fjord", 1, {}, status="failed")]):
        folder = tmp_path / "outputs" / "sweep" / str(number)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(run))
    assert main(["report", "out=tables"]) == 0
    output = capfd.readouterr().out
    assert "82.0 ± 2.8" in output and "left out: outputs/sweep/5 (failed)" in output and "lacks seed 2" in output
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["table1.csv", "table1.md"]
    assert main(["report", f"runs=[{tmp_path}/outputs/*/0,outputs/sweep/1]"]) == 0
    assert "(2 runs)" in capfd.readouterr().out
    for words, error in {
        "runs=nowhere": "runs=nowhere: matches no run",
        "runs=outputs/sweep/5": "none of these runs is finished",
        "runs=a**b": "runs=a**b: no valid pattern",
        "report=magic": "report=magic: no such report; choose table1",
        "run=outputs": "did you mean runs",
        "out=/proc/version/x": "out=/proc/version/x: cannot write there",
    }.items():
        assert main(["report", words]) == 2
        assert error in capfd.readouterr().err
    (tmp_path / "outputs/sweep/0/results.json").write_text("{")
    assert main(["report"]) == 2
    assert "cannot be read" in capfd.readouterr().err
