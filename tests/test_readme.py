"""README and docs/: their Python examples run, their groups, options and commands exist, their links lead somewhere."""

import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitmix.commands import VERBS, main
from splitmix.commands.help import composed, groups
from splitmix.config import load_run_config, resolve
from splitmix.data.dataset import ImageSet
from splitmix.data.minidigits import MiniDigits

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Pages about code of a user's own, whose commands need it; each has a test of its own.
OWN = {"own_algorithm.md", "own_model.md", "own_dataset.md", "own_logger.md"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PYTHON = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.S)


@pytest.mark.slow
@pytest.mark.parametrize("test_images", [50, 500])
def test_the_python_example_runs(capsys, monkeypatch, test_images):
    """With all images of its dataset, or with a tenth of the test images."""
    load = MiniDigits.load
    monkeypatch.setattr(MiniDigits, "load", lambda self: with_test_images(load(self), test_images))
    exec(compile(PYTHON[0], "python.md", "exec"), {})
    accuracies, digit = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "0.125" in accuracies and 0 <= int(digit) <= 9


@pytest.mark.slow
def test_the_examples_for_notebooks_run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "debug=quick", "engine.workers=1", "engine.threads=1"]) == 0
    capsys.readouterr()
    notebook, finished = PYTHON[1:]
    exec(compile(notebook, "python.md", "exec"), {})
    text = capsys.readouterr().out
    assert "round 3/3" in text and "train_loss" in text and "north" in text
    exec(compile(f"import splitmix\n{finished}", "python.md", "exec"), {})
    assert "accuracy" in capsys.readouterr().out


def with_test_images(dataset, count):
    """The dataset with `count` test images of each domain."""
    slices = [dataset.test.domain_slice(domain) for domain in range(len(dataset.domains))]
    images, labels = (
        torch.cat([values[part][:count] for part in slices]) for values in (dataset.test.images, dataset.test.labels)
    )
    return replace(dataset, test=ImageSet(images, labels, (count,) * len(slices)))


def test_the_table_of_groups_names_every_group_and_option():
    text = (DOCS / "keys.md").read_text()
    table = text[text.index("| group |") : text.index("A mistake (")]
    for group, files in groups().items():
        assert f"`{group}`" in table
        # Of experiments there are too many; the table names the command that lists them.
        for file in files if group != "experiment" else []:
            assert f"`{file.stem}`" in table


def commands():
    """Every `splitmix <verb> …` of the pages' shell blocks, once, as words, without comments and what stands before."""
    texts = [page.read_text() for page in PAGES if page.name not in OWN]
    lines = [line for text in texts for block in shell_blocks(text) for line in block.splitlines()]
    found = [re.search(r"(?:^|&& )(splitmix .*)", line) for line in lines]
    words = [tuple(shlex.split(match[1], comments=True)) for match in found if match]
    return list(dict.fromkeys(one for one in words if len(one) > 1))


def shell_blocks(text):
    """The shell blocks of a page."""
    return re.findall(r"```bash\n(.*?)```", text, re.S)


def commands_mostly_slow():
    """All commands; the first of each verb is in the quick suite."""
    before = Counter()
    for words in commands():
        before[words[1]] += 1
        marks = pytest.mark.slow if before[words[1]] > 1 else ()
        yield pytest.param(words, marks=marks, id=" ".join(words[1:])[:70])


@pytest.mark.parametrize("words", commands_mostly_slow())
def test_every_command_composes(words):
    """Names and values are known: what a config file says of them, not what lies on the disk."""
    _, verb, *rest = words
    assert verb in VERBS
    overrides = [
        re.sub("<.*?>", "x", word) for word in rest if "=" in word and "my_conf" not in word and word != "budget=mine"
    ]
    config = composed(verb, [word for word in overrides if not swept(word)])
    if verb == "train":
        load_run_config(resolve(config))


def swept(word):
    """A sweep over several values, a key that only a launcher's package knows, or a file."""
    value = word.partition("=")[2]
    return "," in re.sub(r"\[.*?\]", "", value) or word.startswith(("hydra", "resume=", "fleet="))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there_or_are_made(page):
    """The site's own build checks the same, and the headings; this sees README too, and needs no MkDocs."""
    made = {"reference/verbs.md", "reference/groups.md", "reference/results.md", "reference/python.md"}
    made |= {"reference/experiments.md", "benchmarks.md", "changelog.md", "contributing.md", "security.md"}
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S))
    local = [target for target in targets if not target.startswith(("https://", "mailto:"))]
    missing = [target for target in local if target not in made and not (page.parent / target).exists()]
    assert not missing
