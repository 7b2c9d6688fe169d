"""Every file under conf/: composed, bound, commented, and equal to the defaults of its component."""

import dataclasses
import re
from importlib.util import find_spec

import pytest
from omegaconf import OmegaConf
from variants import mostly_slow

from splitmix.binding import bind
from splitmix.commands.help import composed, documented, groups, header
from splitmix.config import conf_dir, load_run_config, resolve
from splitmix.config_hash import config_hash
from splitmix.errors import UserError
from splitmix.federation.build import check_config

FILES = sorted(path for path in conf_dir().rglob("*.yaml"))
OPTIONS = [(group, path) for group, files in groups().items() for path in files if group != "experiment"]


def test_all_files_are_seen():
    # The primary configs of the verbs, options, experiments (see test_experiments), what experiments share.
    assert len(FILES) == 21 + 88 + 53 + 4 and len(OPTIONS) == 88


@pytest.mark.parametrize(
    ("group", "path"), mostly_slow(OPTIONS), ids=[f"{group}={path.stem}" for group, path in OPTIONS]
)
def test_every_option_composes_and_binds(group, path):
    if group == "attack":
        values = resolve(composed("test", [f"attack=[{path.stem}]"]))["attack"]
        assert list(values) == [path.stem]
        bind(values[path.stem], "attack").check(f"attack.{path.stem}")
        return
    config = load_run_config(resolve(composed("train", [f"{group}={path.stem}"])))
    if group == "dataset" and path.stem != "minidigits":
        with pytest.raises(UserError, match=r"dataset\.root"):
            check_config(config)
    elif group == "logger" and path.stem in ("wandb", "mlflow") and find_spec(path.stem) is None:
        # An optional package: without it the option says what to install.
        with pytest.raises(UserError, match=rf"pip install 'splitmix\[{path.stem}\]'"):
            check_config(config)
    elif path.stem == "reproducible":
        # This process imported PyTorch with all instructions.
        with pytest.raises(UserError, match=r"engine\.instructions=portable: PyTorch was imported"):
            check_config(config)
    elif path.stem == "dp_fedavg":
        with pytest.raises(UserError, match=r"privacy\.noise_multiplier=null .*: give one of them"):
            check_config(config)
    elif path.stem == "module":
        with pytest.raises(UserError, match=r"model\.factory=null: name the function that makes your network"):
            check_config(config)
    elif path.stem == "nefl":
        with pytest.raises(UserError, match="model=digit_cnn: it has no residual blocks"):
            check_config(config)
    elif path.stem == "alexnet":
        with pytest.raises(UserError, match="model=alexnet needs images of at least 63x63 pixels"):
            check_config(config)
    else:
        check_config(config)


def test_import_has_the_keys_of_train():
    """Its config is a training config with two keys of its own."""
    keys = [dict(documented(conf_dir() / f"{verb}.yaml")) for verb in ("train", "import")]
    assert all(keys[0].pop(key) for key in ("resume", "trust", "fit_data", "checkpoint_rounds", "fleet"))
    assert keys[1].pop("file") and keys[1].pop("out")
    assert keys[0] == keys[1]
    config = composed("import", ["file=a", "out=b"])
    assert {key: value for key, value in resolve(config).items() if key not in ("file", "out")} == {
        key: value
        for key, value in resolve(composed("train", [])).items()
        if key not in ("resume", "trust", "fit_data", "checkpoint_rounds", "fleet")
    }


@pytest.mark.parametrize(("group", "path"), OPTIONS, ids=[f"{group}={path.stem}" for group, path in OPTIONS])
def test_values_are_the_defaults_of_the_component(group, path):
    node = OmegaConf.to_container(OmegaConf.load(path))
    if "_target_" in node:
        component = bind(node, group)
        # Two options may share a class and differ in numbers, such as PGD's steps.
        assert component == type(component)() or path.stem != getattr(component, "name", "default")
        assert {field.name for field in dataclasses.fields(component)} == node.keys() - {"_target_"}


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(conf_dir())) for path in FILES])
def test_every_file_and_key_is_explained(path):
    assert len(header(path)) > 10
    lines = path.read_text().split("\nhydra:")[0].splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("  - override")), 0)
    keys = [line for line in lines[start:] if re.match(r" *[a-z]\w*: \S", line)]
    assert all("  # " in line or " # " in line for line in keys)


def test_the_hash_ignores_what_cannot_change_the_numbers():
    same_words = ["name=x", "engine.threads=1", "test.widths=1", "test.metrics=[accuracy,nll]", "test.mix=median"]
    base, same, other = (
        config_hash(resolve(composed("train", words))) for words in ([], same_words, ["optimizer.lr=0.2"])
    )
    assert base == same != other
    # As before there was privacy.
    before = resolve(composed("train", []))
    assert before.pop("privacy") and config_hash(before) == base
    assert config_hash(resolve(composed("train", ["privacy=dp_fedavg"]))) != base
    # Of runs of versions that knew no malicious clients.
    former = {key: value for key, value in resolve(composed("train", [])).items() if key != "malicious"}
    assert config_hash(former) == base != config_hash(resolve(composed("train", ["malicious=label_flip"])))
