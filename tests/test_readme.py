"""The README: its Python example runs, its groups and options exist."""

import re
from pathlib import Path

from splitmix.commands.help import groups

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_example_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(code, "README.md", "exec"), {})
    accuracies, digit = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "0.125" in accuracies and 0 <= int(digit) <= 9


def test_the_table_of_groups_names_every_group_and_option():
    table = README[README.index("| group |") : README.index("A mistake (")]
    for group, files in groups().items():
        assert f"`{group}`" in table
        # Too many for a table: splitmix list has them.
        for file in files if group != "experiment" else []:
            assert f"`{file.stem}`" in table
