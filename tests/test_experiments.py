"""Every experiment file: counted, composed at each value of each axis, validated, and the numbers of the paper."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from splitmix.commands.experiments import grid, jobs
from splitmix.commands.help import composed, groups, header
from splitmix.config import conf_dir, load_run_config, resolve
from splitmix.federation.build import check_config

FILES = groups()["experiment"]
NAMES = [path.stem for path in FILES]


def test_all_experiments_are_seen():
    paper = [name for name in NAMES if not name.startswith("mini_")]
    assert (len(paper), len(NAMES)) == (27, 40)
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


@pytest.mark.parametrize("whole_grid", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_experiment_composes_and_is_valid(path, whole_grid, monkeypatch):
    for point in points(path) if whole_grid else points(path)[:1]:
        config = load_run_config(resolve(composed("train", [f"experiment={path.stem}", *point])))
        assert config.scalars.name == path.stem
        # The files of these datasets are not here.
        monkeypatch.setattr(type(config.dataset), "check", lambda self: None)
        check_config(config)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_header_says_the_command_and_the_cost(path):
    text = path.read_text()
    assert f"# Run: splitmix train experiment={path.stem}\n" in text and "Cost, estimated: " in text
    assert any(word in text.split("defaults:")[0] for word in ("Table", "section", "Figure")) and len(header(path)) > 20


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_hydra_sees_the_grid_that_list_counts(path):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config("train", [f"experiment={path.stem}"], run_mode=RunMode.MULTIRUN)
    assert config.hydra.mode == RunMode.MULTIRUN
    assert {key: str(value) for key, value in config.hydra.sweeper.params.items()} == grid(path)


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


@pytest.mark.parametrize("name", PAPER)
def test_numbers_are_those_of_the_paper(name):
    config = load_run_config(resolve(composed("train", [f"experiment={name}"])))
    s = config.scalars
    found = (s.rounds, s.local_epochs, s.batch_size, s.clients_per_domain, s.train_fraction, s.val_fraction)
    schedule = getattr(config.schedule, "milestones", config.schedule.name)
    assert (*found, config.optimizer.lr, schedule) == PAPER[name]
    assert config.budget.widths == ("1" if "full_cifar10_splitmix" in name else "8-4-2-1")


def test_the_robust_experiments_are_plain_split_mix_with_dual_norms():
    found = [path for path in FILES if "robust_" in path.stem and path.stem.endswith("_splitmix")]
    assert len(found) == 6
    for path in found:
        config = load_run_config(resolve(composed("train", [f"experiment={path.stem}"])))
        small = path.stem == "mini_robust_joint_splitmix"  # what it does otherwise, its header says
        settings = (config.algorithm.adv_lambda, config.algorithm.rescale_init, config.algorithm.rescale_layer)
        assert settings == (0.1 if small else 0.5, False, False)
        assert grid(path).get("model.bn", config.model.bn) == ("tracked" if small else "tracked,local")
