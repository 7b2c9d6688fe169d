"""splitmix list: every option with a line, experiments with the number of their runs."""

from splitmix.commands import main
from splitmix.commands.experiments import grid, jobs
from splitmix.commands.help import groups
from splitmix.config import conf_dir


def test_a_group_alone_and_all_groups(capsys):
    assert main(["list", "what=experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "experiment" and len(lines) == 1 + len(groups()["experiment"])
    [line] = [line for line in lines if line.split()[0] == "ablation_bn"]
    assert line.split()[1:3] == ["12", "runs"] and "Table 4" in line
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{group}\n" in f"\n{text}" for group in groups())


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
