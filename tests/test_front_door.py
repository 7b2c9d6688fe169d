"""What `import splitmix` offers: every component of the config groups and the values, imported when first used."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import splitmix
from splitmix.commands.help import groups
from splitmix.homes import HOMES

GROUPS = (
    "dataset", "partition", "budget", "algorithm", "model", "optimizer", "server_optimizer", "aggregation", "privacy"
)  # fmt: skip
COMPONENTS = sorted(
    {
        target
        for group in (*GROUPS, "schedule", "attack", "train_attack")
        for path in groups()[group]
        for node in [OmegaConf.to_container(OmegaConf.load(path))]
        for target in [node.get("_target_"), *(part["_target_"] for part in node.values() if isinstance(part, dict))]
        if target
    }
)


def test_components_are_found():
    assert len(COMPONENTS) > 40 and "splitmix.algorithms.scaffold.Scaffold" in COMPONENTS


@pytest.mark.parametrize("target", COMPONENTS, ids=[target.rpartition(".")[2] for target in COMPONENTS])
def test_every_component_is_at_the_top(target):
    name = target.rpartition(".")[2]
    component = getattr(splitmix, name)
    assert f"{component.__module__}.{component.__name__}" == target and name in splitmix.__all__


def test_every_name_exists_and_type_checkers_know_the_same_names():
    assert all(getattr(splitmix, name) is not None for name in splitmix.__all__)
    tree = ast.parse(Path(splitmix.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    known = {alias.name: node.module for node in block.body for alias in node.names}
    assert known == {name: f"splitmix.{home}" for name, home in HOMES.items()}
    assert sorted(splitmix.__all__) == sorted(HOMES) and set(splitmix.__all__) <= set(dir(splitmix))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'FedAverage'"):
        splitmix.FedAverage  # noqa: B018


def test_importing_it_and_asking_for_help_import_no_torch():
    code = (
        "import sys, splitmix; assert 'torch' not in sys.modules; from splitmix.commands import main; main(['--help']);"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow  # mypy reads all of splitmix
def test_a_program_that_uses_it_passes_mypy_strict(tmp_path):
    (tmp_path / "user.py").write_text(PROGRAM)
    environment = {**os.environ, "MYPYPATH": str(Path(splitmix.__file__).parents[1])}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    words = [*command, "--ignore-missing-imports", "user.py"]
    checked = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    (tmp_path / "user.py").write_text(PROGRAM.replace("rounds=2", 'rounds="two"'))
    checked = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert 'Argument "rounds" to "Federation" has incompatible type "str"' in checked.stdout


PROGRAM = """\
import numpy as np

import splitmix


def stop(last: splitmix.FitRound, history: splitmix.History) -> bool:
    return last.metrics.loss < 0.1 and len(history) > 2


images = np.zeros((40, 28, 28), np.uint8)
data: splitmix.Dataset = splitmix.Dataset.from_arrays(images, np.arange(40) % 2)
with splitmix.Federation(data, splitmix.SplitMix(), splitmix.DigitCNN(), rounds=2) as federation:
    history = federation.fit(callbacks=[stop, splitmix.LiveFigure()])
    best: float = federation.test(history.best, [1.0]).mean()[1.0]
    model = splitmix.customize(federation.method, history.state, width=0.5)
run = splitmix.load("latest")
print(history.to_frame().shape, run.metrics().shape, run.customize(0.5), best + 1, model)
for other in (splitmix.FedAvg(0.5), splitmix.HeteroFL(), splitmix.FjORD(), splitmix.Scaffold(0.5)):
    splitmix.Federation(data, other, splitmix.PreResNet18(), aggregation=splitmix.Mean())
"""
