"""A deployment ends with the bits of the simulation: weights, metrics, accuracies."""

import json

import pytest
import torch
from fleets import deploy, nodes_of, noise_tree, run_words, simulate

from splitmix.deploy.journal import read_journal
from splitmix.runs.checkpoint import read_content
from splitmix.runs.metrics import read_metrics

TIMES = ("seconds/data", "seconds/train", "seconds/merge", "seconds/validate")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["model.bn=tracked"],
        ["model.bn=local"],
        ["algorithm=fedavg"],
        ["algorithm=heterofl"],
        ["algorithm=scaffold", "clients_per_round=3"],
        ["algorithm=fedprox", "server_optimizer=adam", "local_epochs=2"],
    ],
    ids=lambda words: " ".join(words),
)
def test_equal_to_the_simulation(tmp_path, words):
    root = noise_tree(tmp_path / "images")
    resolved = run_words(root, *words)
    simulate(resolved, tmp_path / "simulated")
    deploy(resolved, tmp_path / "deployed", nodes_of(root, tmp_path / "memory"))
    both = [tmp_path / name for name in ("simulated", "deployed")]
    for name in ("last", "best"):
        simulated, deployed = (read_content(folder / "checkpoints" / f"{name}.ckpt") for folder in both)
        assert simulated["best_value"] == deployed["best_value"]
        for scope in ("tensors", "server"):
            assert simulated[scope].keys() == deployed[scope].keys()
            for entry, value in simulated[scope].items():
                assert torch.equal(value, deployed[scope][entry]), (name, scope, entry)
    rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(f / "metrics.csv")] for f in both]
    assert rows[0] == rows[1]
    simulated, deployed = (json.loads((folder / "results.json").read_text()) for folder in both)
    assert simulated["clients"] == deployed["clients"]
    for width, record in simulated["widths"].items():
        assert record["sa"] == deployed["widths"][width]["sa"]
    for one, other in zip(simulated["tests"], deployed["tests"], strict=True):
        assert one["per_client"] == other["per_client"]
    evaluations = read_journal(tmp_path / "deployed" / "evaluations.jsonl")
    assert {entry.client for entry in evaluations} == {"0-0", "0-1", "1-0", "1-1"}
    assert [entry.outcome for entry in evaluations[:4]] == ["val"] * 4 and evaluations[-1].outcome == "test"
    # Every client is sent the whole model.
    whole = sum(value.nbytes for value in simulated_tensors(both[0]).values())
    assert all(entry.bytes_down > whole and entry.bytes_up > 0 for entry in evaluations)


def simulated_tensors(folder):
    return read_content(folder / "checkpoints" / "last.ckpt")["tensors"]
