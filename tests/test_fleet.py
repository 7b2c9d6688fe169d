"""The fleet's file: what it may say, what a client takes with so many base models, and its place in a run's config."""

from pathlib import Path

import pytest
import yaml

from splitmix.commands.help import composed
from splitmix.config import load_run_config, resolve, resolve_run
from splitmix.config_hash import config_hash
from splitmix.errors import UserError
from splitmix.fleet import Fleet, FleetClient, fleet_of, read_fleet

CLIENTS = [{"id": "a", "domain": "x", "budget": 0.5, "step_seconds": [1, 3], "loads": [1, 4]}]


def test_a_step_takes_what_was_measured_and_between_measurements_a_straight_line():
    client = FleetClient("a", "a", 1.0, (1.0, 3.0), (1.0, 5.0))
    assert [client.seconds_of_step(load) for load in (1, 3, 5)] == [1, 2, 3]
    assert client.seconds_of_step(0.5) == 0.5 and client.seconds_of_step(10) == 6
    each = FleetClient("a", "a", 1.0, (0.25,))
    assert [each.seconds_of_step(load) for load in (1, 2, 8)] == [0.25, 0.5, 2]
    measured = FleetClient("a", "a", 1.0, (2.0, 3.0, 5.0))
    assert [measured.seconds_of_step(load) for load in (2, 2.5, 3)] == [3, 4, 5]


def test_a_file_comes_back_as_it_was_written(tmp_path):
    fleet = fleet_of({"clients": CLIENTS, "round_seconds": 9, "min_clients": 1})
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet.to_dict()))
    assert read_fleet(tmp_path / "fleet.yaml") == fleet and fleet.timed
    assert "wait_seconds" not in fleet.to_dict() and "drop_out" not in fleet.to_dict()["clients"][0]
    assert not Fleet((FleetClient("a", "a", 1.0),)).timed and not Fleet().timed


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"budget": 0}, "budget 0; give one in"),
        ({"step_seconds": -1}, "step_seconds"),
        ({"loads": [1]}, "as many numbers as step_seconds has, 2"),
        ({"loads": [2, 2]}, "ascending"),
        ({"drop_out": 1}, "drop_out=1; give a share"),
        ({"straggler": 0.5}, "straggler=0.5; give a factor"),
        ({"absent": 0}, r"absent=\[0\]; give rounds"),
        ({"start_seconds": -1}, "start_seconds=-1"),
        ({"speed": 3}, "unknown key speed"),
    ],
)
def test_a_wrong_value_of_a_client_is_named(client, words):
    with pytest.raises(UserError, match=words):
        fleet_of({"clients": [{**CLIENTS[0], **client}]})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1], "not a mapping"),
        ({"clients": "a"}, "not a list of mappings"),
        ({"clients": [*CLIENTS, *CLIENTS]}, "a stands twice"),
        ({"clients": [*CLIENTS, {"id": "b", "domain": "b", "budget": 1}]}, "b has no step_seconds"),
        ({"base_width": 2}, "base_width=2"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_a_wrong_value_of_a_fleet_is_named(values, words):
    with pytest.raises(UserError, match=words):
        fleet_of(values)


def test_a_run_keeps_the_content_of_the_file_and_its_budgets(tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump({"clients": CLIENTS}))
    resolved = resolve_run(composed("train", [f"fleet={file}"]))
    assert resolved["fleet"] == {"clients": CLIENTS}
    budget = load_run_config(resolved).budget
    assert budget.assign(1, 1, 0) == (0.5,) and budget.listed() == () and budget.redraw == "never"
    with pytest.raises(UserError, match="it has 1 clients, but clients_per_domain=10 and 5 domains make 50"):
        budget.assign(10, 5, 0)
    plain = resolve(composed("train", []))
    older = {key: value for key, value in plain.items() if key != "fleet"}
    assert config_hash(older) == config_hash(plain) != config_hash(resolved)
    other = {**resolved, "fleet": {"clients": [{**CLIENTS[0], "drop_out": 0.1}]}}
    assert config_hash(other) != config_hash(resolved)


def test_mistakes_are_told_with_the_file(tmp_path):
    file = tmp_path / "fleet.yaml"
    with pytest.raises(UserError, match=r"^fleet=.*missing\.yaml: .*cannot be read"):
        resolve_run(composed("train", [f"fleet={Path(tmp_path) / 'missing.yaml'}"]))
    file.write_text("clients: [{id: a}]")
    with pytest.raises(UserError, match=r"fleet\.yaml: the configuration lacks the key domain"):
        resolve_run(composed("train", [f"fleet={file}"]))
    plain = resolve(composed("train", []))
    with pytest.raises(UserError, match="it names no clients"):
        load_run_config({**plain, "fleet": {}})
    with pytest.raises(UserError, match=r"budget\.redraw=round: a device keeps its budget"):
        load_run_config({**plain, "budget": {**plain["budget"], "redraw": "round"}, "fleet": {"clients": CLIENTS}})
