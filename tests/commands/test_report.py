"""`splitmix report` on synthetic run folders: what it prints and writes, what it leaves out, one-line mistakes."""

import csv
import json

import pytest
from run_folders import attacked, write_run
from variants import mostly_slow

from splitmix.commands import main
from splitmix.commands.help import documented
from splitmix.config import conf_dir
from splitmix.reporting.kinds import KINDS

ROBUST = {(w, adv): (0.9 - 0.1 * adv, 0.2 + 0.3 * adv) for w in (0.5, 1.0) for adv in (0.0, 0.5, 1.0)}
NOT_SHOWN = ("tradeoff", "metrics", "time", "anytime", "corruptions", "poison", "privacy", "dial", "transfer", "sanity")
"""Kinds that the runs cannot show, or whose table has another name."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Runs that have something for every kind of report, and one that is not finished."""
    root = tmp_path_factory.mktemp("work") / "outputs"
    sa = {0.5: 0.8, 1.0: 0.9}
    write_run(root / "main" / "0", ["seed=1"], sa, tests=attacked(ROBUST))
    write_run(root / "main" / "1", ["seed=2"], {0.5: 0.82, 1.0: 0.94})
    write_run(root / "main" / "2", ["seed=1", "algorithm=sheterofl"], {0.5: 0.85, 1.0: 0.7})
    write_run(root / "main" / "3", ["seed=2", "algorithm=sheterofl"], {}, status="interrupted")
    write_run(root / "other" / "0", ["clients_per_round=2"], sa)
    write_run(root / "other" / "1", ["budget.widths=8-4-2"], {0.5: 0.7})
    write_run(root / "other" / "2", ["model.bn=tracked"], sa)
    return root


@pytest.fixture
def inside(outputs, monkeypatch):
    monkeypatch.chdir(outputs.parent)
    return outputs


@pytest.mark.slow
def test_all_is_printed_and_written(inside, tmp_path, capfd):
    assert main(["report", f"out={tmp_path / 'out'}"]) == 0
    said = capfd.readouterr().out
    assert "92.0 ± 2.8" in said and "left out: outputs/main/3 (interrupted)" in said and said.count("skipped") == 9
    assert "skipped: metrics (no run was tested with such metrics" in said
    written = {path.name for path in (tmp_path / "out").iterdir()}
    tables = [
        *(kind for kind in KINDS if kind not in NOT_SHOWN),
        "params",
        "league_widths",
        "tradeoff_linf_pgd",
    ]
    assert {f"{name}.{end}" for name in tables for end in ("csv", "md", "tex")} <= written
    figures = ["macs", "convergence", "clients_accuracy", "clients_macs", "clients_params", "domains", "budgets"]
    figures += ["participation", "tradeoff_linf_pgd", "joint"]
    assert {f"{name}.{end}" for name in figures for end in ("png", "pdf")} <= written and "report.html" in written
    assert len(written) == 3 * len(tables) + 2 * len(figures) + 1
    assert all((tmp_path / "out" / name).stat().st_size for name in written)
    with open(tmp_path / "out" / "table1.csv") as file:
        [line] = [line for line in csv.DictReader(file) if line["method"] == "Split-Mix" and line["width"] == "1"]
    # Seeds 1 and 2 of 0.90 and 0.94.
    assert (line["mean"], line["std"], line["seeds"]) == ("0.92", "0.028284", "1 2")
    assert "interrupted" in (tmp_path / "out" / "report.html").read_text()


def test_one_kind_of_some_runs_is_printed_only(inside, capfd):
    before = sorted(inside.parent.rglob("*"))
    words = ["report", "runs=[outputs/main/0,'outputs/*/1']", "report=table1", "out=null"]
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "(3 runs)" in said and "budgets=8-4-2" in said and sorted(inside.parent.rglob("*")) == before


@pytest.mark.slow
def test_the_same_report_twice_is_the_same_files(inside, tmp_path, capfd):
    for name in ("a", "b"):
        assert main(["report", "report=macs", f"out={tmp_path / name}"]) == 0
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b and "macs.pdf" in a


def test_the_later_of_two_equal_runs_counts_and_is_named(inside, tmp_path, capfd):
    write_run(tmp_path / "again", ["seed=2"], {0.5: 0.1, 1.0: 0.2}, started="2026-02-01")
    assert main(["report", f"runs=[outputs/main,{tmp_path}]", "report=table1", "out=null"]) == 0
    said = capfd.readouterr().out
    assert "left out: outputs/main/1 (Split-Mix, seed 2" in said and "55.0 ± 49.5" in said


MISTAKES = {
    "runs=nowhere": "runs=nowhere: matches no run",
    "runs=a**b": "runs=a**b: no valid pattern",
    "runs=outputs/main/3": "none of these runs is finished (left out: outputs/main/3 (interrupted))",
    "report=magic": "report=magic: no such report (did you mean macs?); choose table1, league",
    "report=domain": "(did you mean domains?)",
    "report=joint runs=outputs/other": "report=joint: no run was tested at several λ",
    "report=tradeoff runs=outputs/other": "report=tradeoff: no run was tested under an attack",
    "report=participation runs=outputs/main": "report=participation: needs runs with at least two values",
    "report=domains width=0.3": "width=0.3: none of these runs was tested there; choose among 0.5, 1",
    "width=wide": "width=wide: expected a number",
    "runs='~nobody_of_that_name/x'": "runs=~nobody_of_that_name/x: matches no run",
    "run=outputs": "did you mean runs",
    "report=table1 out=/proc/version/x": "out=/proc/version/x: cannot write there",
}


@pytest.mark.parametrize(("words", "told"), mostly_slow(MISTAKES.items(), 3), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(inside, capfd, words, told):
    assert main(["report", *words.split()]) == 2
    error = capfd.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1


DAMAGE = {
    "results.json": [("{", "cannot be read"), ('{"schema": 2}', "is not a results file of schema 1")],
    "config.yaml": [("a: [", "cannot be read"), ("rounds: many\n", "rounds=many: expected a whole number")],
    "metrics.csv": [("round,val_sa/1.0\n0,high\n", "metrics.csv cannot be read")],
}


@pytest.mark.parametrize(("name", "text", "told"), [(name, *pair) for name, pairs in DAMAGE.items() for pair in pairs])
def test_a_damaged_file_is_named(tmp_path, capfd, name, text, told):
    folder = write_run(tmp_path / "run", [], {1.0: 0.5})
    (folder / name).write_text(text)
    assert main(["report", f"runs={folder}", "out=null"]) == 2
    error = capfd.readouterr().err
    assert told in error and str(folder / name) in error and len(error.strip().splitlines()) == 1


LOSSES = {
    "clients": lambda results: results.pop("clients"),
    "field `macs` - at `$.widths[...]`": lambda results: results["widths"]["1.0"].pop("macs"),
    "Expected `mapping`, got `list` - at `$.widths`": lambda results: results.update(widths=[]),
    "Expected `list`, got `int` - at `$.clients`": lambda results: results.update(clients=7),
    "`$.tests[0].per_client` has 3 values for 4 clients": lambda results: results["tests"][0]["per_client"].pop(),
}


@pytest.mark.parametrize(("told", "lose"), LOSSES.items(), ids=LOSSES)
def test_results_that_lack_something_are_named(tmp_path, capfd, told, lose):
    folder = write_run(tmp_path / "run", [], {1.0: 0.5})
    results = json.loads((folder / "results.json").read_text())
    lose(results)
    (folder / "results.json").write_text(json.dumps(results))
    assert main(["report", f"runs={folder}", "out=null"]) == 2
    error = capfd.readouterr().err
    assert told in error and str(folder / "results.json") in error and len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_names_in_a_run_are_no_mathematics(tmp_path, capfd):
    tests = attacked(ROBUST, name="$^$")
    write_run(tmp_path / "run", [], {0.5: 0.8, 1.0: 0.9}, tests=tests, domains=("$\\frac$", "[/b]"))
    assert main(["report", f"runs={tmp_path}", f"out={tmp_path / 'out'}", "report=tradeoff"]) == 0
    assert main(["report", f"runs={tmp_path}", f"out={tmp_path / 'out'}", "report=domains"]) == 0
    assert "[/b]" in capfd.readouterr().out


def test_the_config_names_every_kind():
    comments = dict(documented(conf_dir() / "report.yaml"))
    assert comments["report"] == ", ".join([*KINDS, "all"])


def test_of_several_datasets_that_of_the_newest_run_is_shown(tmp_path, capfd):
    write_run(tmp_path / "a", [], {1.0: 0.5}, results={"started": "2026-01-02T00:00:00"})
    write_run(tmp_path / "b", ["dataset=cifar10"], {1.0: 0.6}, results={"started": "2026-01-01T00:00:00"})
    assert main(["report", f"runs={tmp_path}", "report=table1", "out=null"]) == 0
    out, err = capfd.readouterr()
    assert "50.0" in out and "60.0" not in out
    assert "left out: runs on cifar10 (1, such as" in out + err and "this report is on minidigits" in out + err


def test_runs_that_name_code_of_ones_own_are_left_out(tmp_path, capfd):
    write_run(tmp_path / "a", [], {1.0: 0.5})
    for name, code in (("b", "mine.Net"), ("c", "mine.Other")):
        config = write_run(tmp_path / name, [], {1.0: 0.6}) / "config.yaml"
        config.write_text(config.read_text().replace("splitmix.models.digit_cnn.DigitCNN", code))
    assert main(["report", f"runs={tmp_path}", "report=table1", "out=null"]) == 0
    out, err = capfd.readouterr()
    assert "50.0" in out and "60.0" not in out and "trust=[mine.Net,mine.Other] takes them in" in out + err
