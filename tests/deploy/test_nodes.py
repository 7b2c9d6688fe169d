"""A node by itself: its settings, its own images and split, its memory, what it trusts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from fleets import noise_tree, run_words

from splitmix.deploy.messages import packed, unpacked
from splitmix.deploy.node import Node
from splitmix.deploy.node_memory import NodeMemory
from splitmix.deploy.node_settings import NodeSettings, read_node
from splitmix.deploy.server import sent_config
from splitmix.errors import UserError
from splitmix.fleet import read_fleet


def node_file(folder, **values):
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump({"client": "clinic-a", "memory": "memory", **values}))
    return path


def test_a_node_is_set_by_its_own_file(tmp_path):
    settings = read_node(node_file(tmp_path, dataset="folder", root="/images"))
    assert settings.client == "clinic-a" and settings.split == "own"
    assert settings.memory == str(tmp_path / "memory")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"partition": "classes"}, "partition has no meaning on a node, the run decides it"),
        ({"rounds": 3}, "rounds has no meaning on a node"),
        ({"engine": {}}, "engine has no meaning on a node"),
        ({"roots": "/x"}, r"unknown key roots \(did you mean root\?\)"),
        ({"split": "half"}, "split=half: choose own or partition"),
        ({"client": "a/b"}, "client=a/b: give letters"),
        ({"threads": -1}, "threads=-1"),
    ],
)
def test_keys_without_meaning_are_refused_by_name(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        read_node(node_file(tmp_path, **values))


def test_a_node_splits_its_own_images_and_tells_their_number_alone(tmp_path):
    root = noise_tree(tmp_path / "images", domains=("mine",))
    node = Node(NodeSettings("clinic-a", str(tmp_path / "memory"), "folder", str(root), "own", "cpu", 1))
    config = sent_config(run_words(root))
    assert str(tmp_path) not in yaml.safe_dump(config)
    answer = node.answer(packed("hello", {"run": "abc", "config": config}))
    images = unpacked(answer, "hello")["images"]
    assert images == {"classes": ["0", "1"], "input_shape": [3, 8, 8], "n_train": 18, "n_val": 18, "n_test": 10}
    assert str(root).encode() not in answer


def test_a_node_imports_no_code_that_a_server_names(tmp_path):
    config = sent_config(run_words(noise_tree(tmp_path / "images")))
    config["model"] = {"_target_": "subprocess.Popen"}
    node = Node(NodeSettings("a", str(tmp_path), "folder", str(tmp_path / "images"), "own", "cpu", 1))
    answer = unpacked(node.answer(packed("hello", {"run": "abc", "config": config})))
    assert "only splitmix's own is imported" in answer["error"]


def test_a_damaged_request_is_answered_in_words(tmp_path):
    answer = unpacked(Node(NodeSettings("a", str(tmp_path))).answer(b"nonsense"))
    assert answer["error"].startswith("malformed") and answer["client"] == "a"


def test_memory_follows_the_rounds_that_the_server_took(tmp_path):
    memory = NodeMemory(tmp_path / "run", {"drift": torch.zeros(2)}, keep_all=False)
    memory.save(0, {"drift": torch.ones(2)}, None)
    memory.save(1, {"drift": torch.full((2,), 2.0)}, 0)
    assert memory.load(None)["drift"].tolist() == [0, 0]
    assert memory.load(0)["drift"].tolist() == [1, 1] and memory.load(1)["drift"].tolist() == [2, 2]
    memory.save(2, {"drift": torch.full((2,), 3.0)}, 1)
    with pytest.raises(UserError, match="what this client remembers of round 1 is lost"):
        memory.load(0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_clients": 0}, "fleet.min_clients=0: give at least 1"),
        ({"on_bad_update": "hope"}, "fleet.on_bad_update=hope: choose skip or stop"),
        ({"clients": [{"id": "a", "domain": "d", "budget": 2}]}, "a has budget 2"),
        ({"clients": [{"id": "a", "domain": "d", "budget": 1}] * 2}, "a stands twice"),
        ({"deadline": 3}, "unknown key deadline"),
    ],
)
def test_a_wrong_fleet_is_refused_by_name(tmp_path, values, message):
    path = tmp_path / "fleet.yaml"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        read_fleet(path)


LIGHT = """
import json, sys
from pathlib import Path
from splitmix.deploy.messages import packed, unpacked
from splitmix.deploy.node import Node
from splitmix.deploy.node_settings import read_node
config = json.loads(sys.stdin.read())
node = Node(read_node(Path(sys.argv[1])))
answer = unpacked(node.answer(packed("hello", {"run": "abc", "config": config})))
assert answer["images"]["n_train"] == 18, answer
print(*[name for name in ("lightning_fabric", "torchmetrics", "torchvision", "pandas") if name in sys.modules])
"""


@pytest.mark.slow
def test_a_process_of_a_node_imports_no_lightning(tmp_path):
    # Flower starts one for every message; Lightning alone would take longer than the rest of it.
    root = noise_tree(tmp_path / "images", domains=("mine",))
    path = node_file(tmp_path, dataset="folder", root=str(root), accelerator="cpu", threads=1)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, path], input=json.dumps(sent_config(run_words(root))), capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
