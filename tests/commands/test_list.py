"""splitmix list: every option with a line, experiments with the number of their runs."""

import pytest

from splitmix.commands import main
from splitmix.commands.experiments import grid, jobs
from splitmix.commands.help import groups
from splitmix.config import conf_dir


@pytest.mark.slow
def test_a_group_alone_and_all_groups(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list", "what=experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line[:1] == " " and line[2] != " "]
    assert lines[0] == "experiment" and names == [file.stem for file in groups()["experiment"]]
    [line] = [line for line in lines if line.split()[0] == "ablation_bn"]
    assert line.split()[1:3] == ["12", "runs"] and max(map(len, lines)) <= 80
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{group}\n" in f"\n{text}" for group in groups())
    assert f"{len(names)} ready-made grids" in text and "ablation_bn" not in text
    assert "* minidigits " in text and "* none " in text and "  digits " in text


@pytest.mark.slow
def test_ones_own_options_are_listed_and_explained(tmp_path, monkeypatch, capsys):
    (tmp_path / "my conf" / "budget").mkdir(parents=True)
    (tmp_path / "my conf" / "budget" / "tiny.yaml").write_text(
        "# Two small budgets.\n_target_: splitmix.federation.budgets.Groups\nwidths: '8-4'\n"
    )
    monkeypatch.chdir(tmp_path)
    for words in (["list"], ["list", "-m", "what=budget"], ["train", "--help"], ["train", "budget=tiny", "--help"]):
        assert main([*words, "--config-dir", "my conf"]) == 0, words
        assert "tiny " in (text := capsys.readouterr().out) and "Two small budgets." in text, words
    assert "* tiny " in text and "  groups " in text and "budget.widths=8-4 " in text and "ln0.5_0.4" in text


def test_axes_of_shared_files_count_and_give_way_to_the_experiments_own(tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "base.yaml").write_text("hydra:\n  sweeper:\n    params: {seed: 1, rounds: '1,2'}\n")
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("defaults: [common/base, {override /algorithm: fedavg}]\n")
    two.write_text("defaults: [common/base]\nhydra:\n  sweeper:\n    params: {seed: 'range(0,3)', name: 'a,b'}\n")
    assert (jobs(one), jobs(two)) == (2, 12)
    assert grid(two) == {"seed": "range(0,3)", "rounds": "1,2", "name": "a,b"}


def test_an_experiment_without_a_grid_is_one_run():
    assert jobs(conf_dir() / "debug" / "quick.yaml") == 1
