"""Every experiment file: counted, composed at each value of each axis, validated, and the numbers of the paper."""

from functools import cache

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from variants import mostly_slow

from splitmix.commands.experiments import grid, jobs
from splitmix.commands.help import groups, header, without_hydra
from splitmix.config import conf_dir, load_run_config, resolve
from splitmix.federation.build import check_config

FILES = groups()["experiment"]
NAMES = [path.stem for path in FILES]
OTHER_PAPERS = ("fiarse_cifar10", "depthfl_cifar100", "flower_heterofl", "nefl_cifar10")
MOSTLY_SLOW = mostly_slow(FILES, 8)


def test_all_experiments_are_seen():
    paper = [name for name in NAMES if not name.startswith("mini_") and name not in OTHER_PAPERS]
    assert (len(paper), len(NAMES)) == (27, 53)
    # digits, domainnet, class skew 6 each; iid 12; ablation 12; budgets 24; participation 36; robust 12 and 20.
    assert sum(jobs(path) for path in FILES if path.stem in paper) == 3 * 6 + 12 + 12 + 24 + 36 + 12 + 20


def points(path):
    """Overrides of so many jobs that every value of every axis occurs."""
    words = [f"{key}={value}" for key, value in grid(path).items()]
    axes = [
        [f"{word.get_key_element()}={value}" for value in word.sweep_string_iterator()]
        if word.is_sweep_override()
        else [word.input_line]
        for word in OverridesParser.create().parse_overrides(words)
    ]
    return [[axis[i % len(axis)] for axis in axes] for i in range(max(len(axis) for axis in axes))]


@cache
def composed_with_hydra(words):
    """The config of `splitmix train` with these overrides as a sweep sees it, with Hydra's own node."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return GlobalHydra.instance().hydra.compose_config("train", list(words), run_mode=RunMode.MULTIRUN)


@cache
def bound(*words):
    """The config of a run with these overrides, bound."""
    return load_run_config(resolve(without_hydra(composed_with_hydra(words))))


def check_experiment(path, point, monkeypatch):
    config = bound(f"experiment={path.stem}", *point)
    assert config.scalars.name == path.stem
    # The files of these datasets are not here.
    monkeypatch.setattr(type(config.dataset), "check", lambda self: None)
    check_config(config)


@pytest.mark.parametrize("path", MOSTLY_SLOW, ids=NAMES)
def test_every_experiment_is_valid_and_hydra_sees_the_grid_that_list_counts(path, monkeypatch):
    check_experiment(path, [], monkeypatch)
    hydra = composed_with_hydra((f"experiment={path.stem}",)).hydra
    assert hydra.mode == RunMode.MULTIRUN
    assert {key: str(value) for key, value in hydra.sweeper.params.items()} == grid(path)
    if path.stem in PAPER:
        assert paper_numbers(path.stem) == PAPER[path.stem]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_value_of_every_axis_composes_and_is_valid(path, monkeypatch):
    for point in points(path):
        check_experiment(path, point, monkeypatch)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_header_says_the_command_and_the_cost(path):
    text = path.read_text()
    assert f"# Run: splitmix train experiment={path.stem}\n" in text and "Cost, estimated: " in text
    assert any(word in text.split("defaults:")[0] for word in ("Table", "section", "Figure")) and len(header(path)) > 20


# rounds, local epochs, batch, clients per domain, train and validation fraction, learning rate, schedule
PAPER = {
    "digits_fedavg": (300, 1, 32, 10, 0.3, 0.5, 0.1, "cos"),
    "digits_sheterofl": (300, 1, 32, 10, 0.3, 0.5, 0.1, "cos"),
    "digits_splitmix": (300, 1, 32, 10, 0.3, 0.5, 0.01, "cos"),
    "domainnet_fedavg": (1000, 1, 32, 5, 1, 0.3, 0.01, "none"),
    "domainnet_splitmix": (1000, 1, 32, 5, 1, 0.3, 0.01, "none"),
    "cifar10_iid_sheterofl": (400, 5, 128, 100, 1, 0.1, 0.1, (150, 250)),
    "cifar10_iid_splitmix": (400, 5, 128, 100, 1, 0.1, 0.01, (250, 350)),
    "cifar10_class_skew_fedavg": (400, 5, 128, 100, 1, 0.1, 0.01, (150, 250)),
    "cifar10_class_skew_sheterofl": (400, 5, 128, 100, 1, 0.1, 0.1, (150, 250)),
    "cifar10_class_skew_splitmix": (400, 5, 128, 100, 1, 0.1, 0.01, (150, 250)),
    "participation_sheterofl": (600, 1, 32, 10, 0.3, 0.5, 0.01, "cos"),
    "robust_full_cifar10_splitmix": (400, 5, 128, 100, 1, 0.1, 0.1, (200, 300)),
    "robust_full_digits_fedavg": (300, 1, 32, 10, 0.3, 0.5, 0.1, "cos"),
    "robust_joint_cifar10_fedavg": (400, 5, 128, 100, 1, 0.1, 0.1, (150, 250)),
    "robust_joint_domainnet_splitmix": (800, 1, 32, 5, 1, 0.3, 0.01, "none"),
}


def paper_numbers(name):
    """What PAPER lists, of an experiment."""
    config = bound(f"experiment={name}")
    assert config.budget.widths == ("1" if "full_cifar10_splitmix" in name else "8-4-2-1")
    s = config.scalars
    schedule = getattr(config.schedule, "milestones", config.schedule.name)
    numbers = (s.rounds, s.local_epochs, s.batch_size, s.clients_per_domain, s.train_fraction, s.val_fraction)
    return (*numbers, config.optimizer.lr, schedule)


def test_the_numbers_of_the_paper_are_those_of_experiments_that_exist():
    assert set(PAPER) <= set(NAMES)


@pytest.mark.slow
def test_the_robust_experiments_are_plain_split_mix_with_dual_norms():
    found = [path for path in FILES if "robust_" in path.stem and path.stem.endswith("_splitmix")]
    assert len(found) == 6
    for path in found:
        config = bound(f"experiment={path.stem}")
        small = path.stem == "mini_robust_joint_splitmix"  # what it does otherwise, its header says
        settings = (config.algorithm.adv_lambda, config.algorithm.rescale_init, config.algorithm.rescale_layer)
        assert settings == (0.1 if small else 0.5, False, False)
        assert grid(path).get("model.bn", config.model.bn) == ("tracked" if small else "tracked,local")
