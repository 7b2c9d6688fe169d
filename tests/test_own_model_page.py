"""The page on own models: its network trains by its commands, out of tree, and a stranger's run imports nothing."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from splitmix.commands import main

PAGE = (Path(__file__).parents[1] / "docs" / "own_model.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's network beside an empty folder of options; importing it leaves a mark."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(code.splitlines()) <= 20
    (tmp_path / "my_conf").mkdir()
    (tmp_path / "my_nets.py").write_text(
        f"{code}\nfrom pathlib import Path\nPath({str(tmp_path / 'mark')!r}).touch()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_nets", None)


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder, capfd):
    [block] = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    train, profile, test = (shlex.split(line)[1:] for line in block.strip().splitlines())
    assert main([*train, "debug=quick", "model.packing=packed", "engine.workers=1"]) == 0
    [following] = re.findall("next: splitmix (.*)", capfd.readouterr().out)
    assert main([*shlex.split(following), "test.max_images=20"]) == 0
    assert main([*profile, "widths=0.125", "repeats=1"]) == 0
    assert main([*test, "test.max_images=20", "test.widths=0.125"]) == 0
    # Without the function's name nothing is imported.
    (folder / "mark").unlink()
    del sys.modules["my_nets"]
    capfd.readouterr()
    for verb, word in (("show", "run=latest"), ("test", "run=latest"), ("train", "resume=latest")):
        assert main([verb, word]) == 2
        [line] = capfd.readouterr().err.strip().splitlines()
        assert "model.factory=my_nets.small_cnn: a run folder may name any code" in line
        assert "trust=[my_nets.small_cnn]" in line and not (folder / "mark").exists()
    # An option file of the user's names it too.
    (folder / "my_conf" / "model").mkdir()
    option = "# Mine.\n_target_: splitmix.models.module.Module\nfactory: my_nets.small_cnn\n"
    (folder / "my_conf" / "model" / "mine.yaml").write_text(option)
    assert main(["show", "run=latest", "--config-dir", "my_conf"]) == 0
    assert main(["list", "what=model", "--config-dir", "my_conf"]) == 0 and "mine" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("model.bn=batch", "model.factory=null: name the function that makes your network"),
        ("model.factory=nowhere.small_cnn", "model.factory=nowhere.small_cnn: cannot be imported"),
        ("model.factory=my_nets.math", "model.factory=my_nets.math: "),
        ("model.packing=both", "model.packing=both: choose one of auto, packed, stacked, separate"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(folder, capfd, word, line):
    assert main(["train", "--config-dir", "my_conf", "model=module", word]) == 2
    [error] = capfd.readouterr().err.strip().splitlines()
    assert line in error and not (folder / "outputs").exists()
