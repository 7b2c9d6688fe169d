"""Numbers of the influence function's authors, and of a dense computation, matched in float64."""

import json
from pathlib import Path

import numpy as np
import pytest
from replay_i2f import replay

FILE = Path(__file__).parent / "i2f_vectors.npz"
EXACT = ("I2F_exact", "I2F_exact_vector", "I2F_damped_vector/1", "rms_I2F_exact_gauss", "eig_JJt", "J_probe")


def check(report):
    products = [kind for kind in report if kind.removeprefix("dense_") in ("Jdelta", "lambda_max", "I2F_lb")]
    assert products
    for kind in products:
        assert report[kind] < 1e-10, kind
    for kind in EXACT:
        assert report[kind] < 1e-8, kind
    assert report["rank"] == 0


@pytest.mark.slow
def test_cases_of_one_image(tmp_path):
    cases = ("lenet/0/", "two_base_models/both/", "upload/others_known/1/")
    with np.load(FILE) as stored:
        some = {name: stored[name] for name in stored.files if name.startswith(cases)}
    np.savez(tmp_path / "some.npz", **some)
    report = replay(tmp_path / "some.npz")
    check(report)
    assert report["not compared"] == ["attack_L2", "compute_exact_bound"]
    json.dumps(report)


@pytest.mark.slow
def test_every_case():
    check(replay(FILE))


def test_an_unknown_case_is_refused(tmp_path):
    np.savez(tmp_path / "some.npz", **{"resnet/0/rank": np.ones(1)})
    with pytest.raises(SystemExit, match="resnet/0/rank is of no known case"):
        replay(tmp_path / "some.npz")
