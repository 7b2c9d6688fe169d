"""Binding and the top-level schema: types, ranges, the hash, where conf/ lies."""

import pytest

from splitmix.binding import bind, convert, shown
from splitmix.commands.help import composed
from splitmix.config import conf_dir, load_run_config, resolve
from splitmix.config_hash import config_hash, former_hash
from splitmix.errors import UserError
from splitmix.test_settings import TestSettings


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        (1, float, 1.0),
        ("1e-3", float, 0.001),
        (3, int, 3),
        (None, int | None, None),
        (4, int | None, 4),
        ("auto", float | str | None, "auto"),
        ("2", float | str | None, 2.0),
        (0.25, tuple[float, ...] | str, (0.25,)),
        ([1, "0.5"], tuple[float, ...] | str, (1.0, 0.5)),
        ("auto", tuple[float, ...] | str, "auto"),
        (5, tuple[int, ...], (5,)),
        ([], tuple[int, ...], ()),
        (7, str, "7"),
        (False, bool, False),
    ],
)
def test_a_value_of_the_right_type_is_converted(value, hint, result):
    converted = convert(value, hint, "key")
    assert converted == result and type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (1.5, int),
        ("3", int),
        (True, float),
        ("fast", float),
        (float("nan"), float),
        ("inf", float),
        (None, float),
        (1, bool),
        ("true", bool),
        (True, str),
        ({}, str),
        (True, float | str | None),
        ([1], int | None),
    ],
)
def test_a_value_of_another_type_is_refused_by_key_and_value(value, hint):
    with pytest.raises(UserError) as caught:
        convert(value, hint, "group.key")
    assert str(caught.value).startswith(f"group.key={shown(value)}: expected ")


def test_a_wrong_item_of_a_list_is_named():
    with pytest.raises(UserError, match=r"^group.key=1.5: expected a whole number"):
        convert([1, 1.5], tuple[int, ...], "group.key")


def test_a_node_binds_to_its_dataclass():
    settings = bind({"_target_": "splitmix.test_settings.TestSettings", "widths": 0.25, "max_images": 9}, "test")
    assert settings == TestSettings(widths=(0.25,), max_images=9)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (
            {"_target_": "splitmix.test_settings.TestSettings", "width": 1},
            "unknown key test.width (did you mean widths?)",
        ),
        ({"_target_": "splitmix.test_settings.TestSettings", "bn": True}, "test.bn=true: expected text"),
        ({"_target_": "splitmix.config.Nothing"}, "test._target_=splitmix.config.Nothing: cannot be imported"),
        ({"_target_": "no_such_package.Thing"}, "test._target_=no_such_package.Thing: cannot be imported"),
        ({"_target_": "splitmix.config.load_run_config"}, "must be a dataclass"),
        ({"_target_": ""}, "test._target_=: cannot be imported"),
        ({"widths": 1}, "must name its class with _target_"),
        (None, "must name its class with _target_"),
    ],
)
def test_a_bad_node_is_refused(node, told):
    with pytest.raises(UserError) as caught:
        bind(node, "test")
    assert told in str(caught.value)


@pytest.fixture(scope="module")
def values():
    return resolve(composed("train", []))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1),
        ("rounds", 0),
        ("local_epochs", 0),
        ("batch_size", 1),
        ("clients_per_domain", 0),
        ("clients_per_round", 0),
        ("validate_every", 0),
        ("train_fraction", 0),
        ("train_fraction", 1.1),
        ("val_fraction", 0),
        ("val_fraction", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_key_and_value(values, key, value):
    with pytest.raises(UserError, match=f"^{key}={value}: give "):
        load_run_config({**values, key: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": "wide"},
        {"widths": ()},
        {"adv_lambdas": (0.0, 1.5)},
        {"bn": "magic"},
        {"batch_size": 1},
        {"max_images": 0},
        {"metrics": ()},
    ],
)
def test_test_settings_out_of_range_are_refused_by_key(changes):
    [key] = changes
    with pytest.raises(UserError, match=f"^test.{key}="):
        TestSettings(**changes).check()


def test_early_exit_needs_fixed_statistics():
    TestSettings(anytime=True).check()
    for bn in ("post", "static"):
        with pytest.raises(UserError, match=f"test.anytime=true: .* not with test.bn={bn}"):
            TestSettings(anytime=True, bn=bn).check()


def test_an_unknown_metric_is_told_with_the_nearest_one(values):
    node = {"_target_": "splitmix.test_settings.TestSettings", "metrics": ["nll", "f2"]}
    with pytest.raises(UserError, match=r"^test\.metrics=f2: no such metric \(did you mean f1\?\); known: accuracy, "):
        load_run_config({**values, "test": node}).test.check()
    assert load_run_config({**values, "test": {**node, "metrics": "nll"}}).test.metrics == ("nll",)


def test_edges_of_the_ranges_pass(values):
    edges = {"seed": 0, "rounds": 1, "batch_size": 2, "clients_per_round": 1, "train_fraction": 1, "val_fraction": 0.01}
    scalars = load_run_config({**values, **edges}).scalars
    assert all(getattr(scalars, key) == value for key, value in edges.items())
    TestSettings(adv_lambdas=(0.0, 1.0), batch_size=2, max_images=1, bn="post").check()


def test_unknown_and_missing_top_level_keys_are_refused(values):
    with pytest.raises(UserError, match=r"unknown key round \(did you mean rounds\?\)"):
        load_run_config({**values, "round": 3})
    with pytest.raises(UserError, match="lacks the key seed"):
        load_run_config({key: value for key, value in values.items() if key != "seed"})


def test_a_repeated_width_counts_once_and_auto_stands_for_all():
    assert TestSettings(widths=(0.5, 0.25, 0.5)).widths_or((1.0,)) == (0.5, 0.25)
    assert TestSettings().widths_or((0.5, 1.0)) == (0.5, 1.0)


def test_the_hash_is_12_hex_digits_whatever_the_order(values):
    digest = config_hash(values)
    assert len(digest) == 12 and int(digest, 16) >= 0
    assert config_hash(dict(reversed(values.items()))) == digest != config_hash({**values, "seed": 2})


def test_conf_dir_holds_the_primary_config():
    assert (conf_dir() / "train.yaml").is_file()


def test_max_images_is_hashed_where_ra_is_validated(values):
    """Only there it decides numbers; without it, and for plain training, the hash is that of earlier versions."""

    def hashes(max_images, **algorithm):
        test = {**values["test"], "max_images": max_images}
        config = {**values, "test": test, "algorithm": {**values["algorithm"], **algorithm}}
        return config_hash(config), former_hash(config)

    assert len({*hashes(None), *hashes(100), *hashes(200), config_hash(values)}) == 1
    for algorithm in ({"adv_lambda": 0.5}, {"lambdas": [0.0, 1.0]}):
        now, former = hashes(None, **algorithm)
        assert now == former == hashes(100, **algorithm)[1]
        assert len({now, hashes(100, **algorithm)[0], hashes(200, **algorithm)[0]}) == 3


def test_other_test_settings_are_not_hashed(values):
    config = {**values, "algorithm": {**values["algorithm"], "adv_lambda": 0.5}}
    test = {**values["test"], "max_images": 50}
    changed = {**test, "widths": 0.25, "batch_size": 7, "bn": "post"}
    assert config_hash({**config, "test": test}) == config_hash({**config, "test": changed})


def test_asked_widths_are_those_of_the_method():
    assert TestSettings(widths=(0.1 * 3, 0.3, 0.1)).widths_or((0.1, 0.2, 0.3)) == (0.3, 0.1)
