"""The README: its Python example runs, its groups and options exist."""

import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitmix.commands import VERBS
from splitmix.commands.help import composed, groups
from splitmix.config import load_run_config, resolve
from splitmix.data.dataset import ImageSet
from splitmix.data.minidigits import MiniDigits

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("test_images", [50, 500])
def test_the_python_example_runs(capsys, monkeypatch, test_images):
    """With all images of its dataset, or with a tenth of the test images."""
    load = MiniDigits.load
    monkeypatch.setattr(MiniDigits, "load", lambda self: with_test_images(load(self), test_images))
    [code] = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(code, "README.md", "exec"), {})
    accuracies, digit = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "0.125" in accuracies and 0 <= int(digit) <= 9


def with_test_images(dataset, count):
    """The dataset with `count` test images of each domain."""
    slices = [dataset.test.domain_slice(domain) for domain in range(len(dataset.domains))]
    images, labels = (
        torch.cat([values[part][:count] for part in slices]) for values in (dataset.test.images, dataset.test.labels)
    )
    return replace(dataset, test=ImageSet(images, labels, (count,) * len(slices)))


def test_the_table_of_groups_names_every_group_and_option():
    table = README[README.index("| group |") : README.index("A mistake (")]
    for group, files in groups().items():
        assert f"`{group}`" in table
        # Of experiments there are too many; the table names the command that lists them.
        for file in files if group != "experiment" else []:
            assert f"`{file.stem}`" in table


def commands():
    """Every `splitmix <verb> …` of the README's shell blocks, as words, without comments and background."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("splitmix ")]
    return [words for line in lines if len(words := shlex.split(line, comments=True)) > 1]


def mostly_slow():
    """All commands; the first two of each verb are in the quick suite."""
    before = Counter()
    for words in commands():
        before[words[1]] += 1
        marks = pytest.mark.slow if before[words[1]] > 2 else ()
        yield pytest.param(words, marks=marks, id=" ".join(words[1:])[:70])


@pytest.mark.parametrize("words", mostly_slow())
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
    """A sweep over several values, or a key that only a launcher's package knows."""
    value = word.partition("=")[2]
    return ("," in value and "[" not in value) or word.startswith(("hydra", "resume="))
