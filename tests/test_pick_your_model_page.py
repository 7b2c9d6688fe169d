"""docs/pick_your_model.md: its commands compose, its Python runs on a bundle of a small run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from splitmix.commands import main
from splitmix.commands.help import composed

PAGE = (Path(__file__).parents[1] / "docs" / "pick_your_model.md").read_text()


@pytest.mark.slow
def test_its_commands_compose():
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("splitmix ")]
    assert len(commands) == 7
    for verb, *words in commands:
        assert composed(verb, words).get("out") is not None or verb == "test"


@pytest.mark.slow
def test_its_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "debug=quick", "engine.workers=1", "engine.threads=1"]) == 0
    assert main(["export", "out=my_bundle", "max_images=50"]) == 0
    assert main(["export", "format=onnx", "width=0.5", "out=half.onnx", "max_images=50"]) == 0
    capsys.readouterr()
    names = {"image": np.zeros((3, 28, 28), np.uint8), "batch": np.zeros((2, 3, 28, 28), np.float32)}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(code, "docs/pick_your_model.md", "exec"), names)
    assert names["other"].width == 0.125 and names["model"].width == 1.0 and names["small"].width == 0.25
    assert names["logits"].shape == (2, 10)
    assert names["network"](__import__("torch").zeros(1, 3, 28, 28)).shape == (1, 10)
