"""The numbers of the authors' reference implementation, by every engine path."""

import json
from pathlib import Path

import pytest
from replay import replay

VECTORS = Path(__file__).parent / "vectors"
# Float32 tolerances, relative to the largest entry: logits before training 1e-5, everything after it 5e-5.
TOLERANCE = {"logits_eval": 1e-5}


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.npz")))
def test_matches_the_reference_on_every_engine_path(name):
    report = replay(VECTORS / f"{name}.npz", json.loads((VECTORS / f"{name}.json").read_text()))
    assert len(report) >= 2
    for path, errors in report.items():
        assert {"logits_eval", "loss", "acc", "trained", "server", "logits_after"} <= errors.keys()
        for group, error in errors.items():
            assert error <= TOLERANCE.get(group, 5e-5), (path, group)


def test_a_wrong_setting_is_seen():
    spec = json.loads((VECTORS / "splitmix_digits.json").read_text())
    report = replay(VECTORS / "splitmix_digits.npz", {**spec, "rescale_layer": False})
    assert report["one lane at a time"]["trained"] > 5e-5
