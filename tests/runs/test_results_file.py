"""results.json: whatever a field holds, the file is read or refused in one line that names the field."""

import json

import pytest
from run_folders import anytime, measured, write_run

from splitmix.errors import UserError
from splitmix.runs.results_file import read_results

HOSTILE = [[], {}, "x", -1, 10**30, 1e300, [[[]]], {"a": {"a": 1}}, True]
REQUIRED = ("algorithm", "dataset", "model", "seed", "started", "status", "clients", "widths", "tests", "schema")


@pytest.fixture
def results(tmp_path):
    path = write_run(tmp_path / "run", [], {1.0: 0.5}) / "results.json"
    content = json.loads(path.read_text())
    content["tests"][0] |= {**measured(), "anytime": anytime(), "corruptions": {"jpeg": [0.5] * 5}}
    ladder = {"eps": [8.0], "accuracy": [0.5], "loss": [1.0], "more_steps": 35, "accuracy_more_steps": 0.5}
    content["tests"][0]["sanity"] = {**ladder, "restarts": 5, "accuracy_restarts": 0.5, "black_box": {"square": 0.6}}
    content["tests"][0]["transfer"] = {"widths": [1.0], "adv_lambdas": [0.0], "accuracy": [0.5], "worst": 0.4}
    return path, content


def places(content, path=()):
    """Every field of the file, of lists their first item."""
    lists = list(enumerate(content))[:1] if isinstance(content, list) else []
    for key, value in content.items() if isinstance(content, dict) else lists:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.slow
def test_every_field_with_every_hostile_value_is_refused_or_harmless(results):
    path, content = results
    refused = 0
    for place in list(places(content)):
        for value in HOSTILE:
            changed = json.loads(json.dumps(content))
            node = changed
            for key in place[:-1]:
                node = node[key]
            if type(node[place[-1]]) is type(value) and not isinstance(value, int | float):
                continue
            node[place[-1]] = value
            path.write_text(json.dumps(changed))
            try:
                read_results(path)
            except UserError as error:
                refused += 1
                assert len(str(error).splitlines()) == 1 and str(path) in str(error)
    assert refused > 250


@pytest.mark.parametrize("key", REQUIRED)
def test_a_field_that_is_missing_is_named(results, key):
    path, content = results
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=key):
        read_results(path)


def test_what_earlier_versions_lack_and_later_ones_add_is_left_alone(results):
    path, content = results
    for key in ("git", "versions", "wall_s", "best_round", "rounds", "config_hash"):
        del content[key]
    content |= {"later": {"a": [1]}, "engine": {"precision": "32-true"}}
    content["widths"]["1.0"]["sa_fixed"] = 0.4
    content["tests"][0] |= {"accuracy_fixed": None, "more": 1}
    path.write_text(json.dumps(content))
    assert read_results(path) == content


WORDS = {
    "`$.widths`": lambda results: results["widths"].update({"wide": results["widths"]["1.0"]}),
    "attack.name": lambda results: results["tests"][0].update(attack={"eps": 8}),
    "is no name of an attack": lambda results: results["tests"][0].update(attack={"name": "../../x"}),
    "attack.eps": lambda results: results["tests"][0]["attack"].update(eps="large"),
    "is not square in its classes": lambda results: results["tests"][0]["confusion_matrix"]["classes"].append("cow"),
    "anytime` has columns of unequal length": lambda results: results["tests"][0]["anytime"]["macs"].pop(),
    "transfer` has columns of unequal length": lambda results: results["tests"][0]["transfer"]["accuracy"].pop(),
    "sanity` has columns of unequal length": lambda results: results["tests"][0]["sanity"]["loss"].pop(),
    "0 values for 4 clients": lambda results: results["tests"][0].update(per_client=[]),
    "validation_tests[0].per_client` has 1 values": lambda results: results.update(
        validation_tests=[{**results["tests"][0], "per_client": [0.5]}]
    ),
}


@pytest.mark.parametrize(("told", "change"), WORDS.items(), ids=WORDS)
def test_what_types_alone_do_not_say_is_checked(results, told, change):
    path, content = results
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read_results(path)
    assert told in str(error.value)
