"""The pages on own datasets and loggers: their code runs by their commands, out of tree."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from splitmix.commands import main

DOCS = Path(__file__).parents[1] / "docs"
QUICK = ["debug=quick", "engine.workers=1", "engine.threads=1", "test.widths=0.125"]


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", (DOCS / page).read_text(), re.S)


def words(page):
    """The page's commands, as words after `splitmix`."""
    [block] = blocks(page, "bash")
    return [shlex.split(line)[1:] for line in block.strip().splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes a page's two files into a folder of a user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(page):
        [code], [option] = blocks(page, "python"), blocks(page, "yaml")
        module, place = (re.match(r"# ([\w/.]+)", text)[1] for text in (code, option))
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / module).write_text(code)
        (tmp_path / place).write_text(option)
        return tmp_path

    yield write
    for name in ("my_data", "my_loggers"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_dataset_of_the_page_trains(folder, capfd):
    root = folder("own_dataset.md")
    check, train, test = words("own_dataset.md")
    assert main(check) == 2
    assert "dataset.root=my_files: there is no scans.npz" in capfd.readouterr().err
    (root / "my_files").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (400, 16, 16), dtype=np.uint8)
    places = np.repeat(["north", "south"], 200)
    np.savez(root / "my_files" / "scans.npz", images=images, labels=np.arange(400) % 2, places=places)
    assert main(check) == 0 and "north" in capfd.readouterr().out
    assert main([*train, *QUICK]) == 0
    assert main([*test, "test.widths=0.125"]) == 0
    [results] = (root / "outputs").rglob("results.json")
    clients = json.loads(results.read_text())["clients"]
    assert {client["domain"] for client in clients} == {"north", "south"}


@pytest.mark.slow
def test_the_logger_of_the_page_gets_what_metrics_csv_gets(folder, capfd):
    root = folder("own_logger.md")
    train, resume = words("own_logger.md")
    assert main([*train, *QUICK]) == 0
    assert main(resume) == 0
    [file] = (root / "outputs").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    header, *rows = (file.parent / "metrics.csv").read_text().splitlines()
    assert [line["round"] for line in lines] == list(range(len(rows))) and "train_loss" in lines[0]
    assert set(lines[-1]) == set(header.split(","))
