"""Nodes with images of their own: each splits them itself, the server learns counts and accuracies."""

import json

import pytest
from fleets import deploy, noise_tree, run_words
from variants import mostly_slow

from splitmix.config import load_run_config
from splitmix.deploy.fleet import refuse_meaningless
from splitmix.deploy.node import Node
from splitmix.deploy.node_settings import NodeSettings
from splitmix.errors import UserError
from splitmix.fleet import Fleet, FleetClient

CLIENTS = (FleetClient("north", "clinic north", 0.25), FleetClient("south", "clinic south", 1.0))
FLEET = Fleet(CLIENTS, round_seconds=900, wait_seconds=3)


@pytest.mark.slow
def test_a_fleet_trains_on_images_that_the_server_never_has(tmp_path):
    nodes = {}
    for number, client in enumerate(CLIENTS):
        root = noise_tree(tmp_path / client.id, domains=("mine",), train=12 + 2 * number)
        nodes[number] = Node(NodeSettings(client.id, str(tmp_path / "m"), "folder", str(root), "own", "cpu", 1))
    resolved = run_words(tmp_path / "nowhere", "model.bn=tracked")
    resolved["dataset"]["root"] = None
    deploy(resolved, tmp_path / "run", nodes, FLEET)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    told = [(client["id"], client["domain"], client["budget"], client["n_train"]) for client in results["clients"]]
    assert told == [("north", "clinic north", 0.25, 12), ("south", "clinic south", 1.0, 14)]
    assert results["status"] == "finished" and results["engine"]["deployed"]
    assert all(len(test["per_client"]) == 2 for test in results["tests"])


@pytest.mark.slow
def test_a_client_that_does_not_come_is_named(tmp_path):
    root = noise_tree(tmp_path / "north", domains=("mine",))
    node = Node(NodeSettings("north", str(tmp_path / "m"), "folder", str(root), "own", "cpu", 1))
    resolved = run_words(tmp_path / "nowhere")
    resolved["dataset"]["root"] = None
    with pytest.raises(UserError, match=r"no word from south; start their nodes"):
        deploy(resolved, tmp_path / "run", {1: node, 2: node}, FLEET)


@pytest.mark.parametrize(
    ("words", "message"),
    mostly_slow(
        [
            (["partition=classes"], "partition=classes: the clients of a fleet have their own images"),
            (["dataset.root=/x"], r"dataset\.root: each node says where its own images lie"),
            (["engine.workers=2"], r"engine\.workers=2: each device trains by itself"),
            (["fit_data=true"], "fit_data=true"),
            (["test.bn=static"], r"test\.bn=static"),
            (["test.anytime=true"], r"test\.anytime=true: devices answer"),
            (["test.corruptions=jpeg"], r"test\.corruptions: devices answer"),
            (["budget.redraw=round"], r"budget\.redraw=round"),
            (["privacy=dp_fedavg"], "privacy=dp_fedavg: every node is sent the seed, and with it the noise"),
            (["test.mix=median"], r"test\.mix=median: devices test the mean"),
            (["malicious=label_flip"], "malicious=label_flip: attackers are simulated"),
        ],
        3,
    ),
)
def test_keys_that_mean_nothing_on_devices_are_refused_by_name(tmp_path, words, message):
    resolved = run_words("null", *words)
    with pytest.raises(UserError, match=message):
        refuse_meaningless(load_run_config(resolved), resolved, FLEET)
