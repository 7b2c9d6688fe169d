"""`splitmix audit` on a small run: what it writes, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from splitmix.commands import run

QUICK = ("audit.images=2", "audit.pixels=8", "clients=0-1")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains for a round on noise of 4x4 pixels, with overrides; returns the run folder."""
    base = tmp_path_factory.mktemp("audit")
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = base / "tree" / "noise" / ("test" if number % 5 == 0 else "train") / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(folder / f"{number}.png")

    def make(name: str, *overrides: str):
        words = (
            "dataset=folder", f"dataset.root={base / 'tree'}", "dataset.image_size=4", "clients_per_domain=2",
            "budget.widths=8-4", "rounds=1", "batch_size=6", "engine.workers=1", "engine.threads=1",
            f"hydra.run.dir={base / name}",
        )  # fmt: skip
        if not (base / name).is_dir():
            assert run(["train", *words, *overrides]) == 0
        return base / name

    return make


@pytest.mark.slow
def test_a_run_with_fixed_statistics(train, capsys):
    folder = train("tracked", "model.bn=tracked", "checkpoint_rounds=[0,1]")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "last.ckpt", "best.ckpt", "round_0.ckpt", "round_1.ckpt",
    }  # fmt: skip
    capsys.readouterr()
    assert run(["audit", f"run={folder}", "checkpoints=[0,last]", *QUICK]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "worst image" in told and "fixed sigma = 0.001" in told and "membership inference" in told
    content = json.loads((folder / "audit.json").read_text())
    records = content["records"]
    assert {record["threat"] for record in records} == {"image", "upload"}
    assert {(record["checkpoint"], record["round"]) for record in records} == {("0", 0), ("last", 1)}
    for record in records:
        assert record["pixels"] == 48 and 0 < record["rank"] <= record["unknown"]
        assert record["rmse"] * record["noise_for_reached"] == pytest.approx(0.1 * record["sigma"])
        if record["threat"] == "upload":
            assert record["unknown"] == 2 and record["error_bar"] > 0 and "lower bound" in record["described"]
    # More base models of the same image never raise the error, where both show all of it.
    whole = {
        (r["checkpoint"], r["threat"], r["image"], r["base_models"]): r["rmse"]
        for r in records
        if r["rank"] == r["unknown"]
    }
    pairs = [(error, whole[(*key[:3], 1)]) for key, error in whole.items() if key[3] == 2 and (*key[:3], 1) in whole]
    assert pairs and all(two <= one * (1 + 1e-9) for two, one in pairs)


@pytest.mark.slow
def test_reconstructions_beside_the_prediction(train, capsys):
    folder = train("tracked", "model.bn=tracked", "checkpoint_rounds=[0,1]")
    words = ("audit.attack=newton", "audit.noise_levels=[1e-5]", "audit.threats=image", "audit.base_models=2")
    assert run(["audit", f"run={folder}", *words, *QUICK]) == 0
    content = json.loads((folder / "audit.json").read_text())
    [level] = content["agreement"]
    assert level["images"] == 2 and 0.7 < level["median_ratio"] < 1.4
    assert all(one["psnr"] > 60 for one in content["reconstructions"])
    assert (folder / "figures" / "audit.png").is_file() and (folder / "figures" / "audit_pictures.png").is_file()


@pytest.mark.slow
def test_batch_statistics_and_noise_after_clipping(train, capsys):
    folder = train("batch")
    assert run(["audit", f"run={folder}", "audit.threats=image", *QUICK]) == 2
    told = capsys.readouterr().err
    assert "one image has no batch statistics" in told and len(told.strip().splitlines()) == 1
    words = ("audit.threats=batch", "audit.noise_multiplier=0.01", "audit.clip=0.5", "audit.base_models=1")
    assert run(["audit", f"run={folder}", *words, *QUICK]) == 0
    content = json.loads((folder / "audit.json").read_text())
    assert "z C = 0.01 x 0.5" in content["convention"]
    assert all(record["sigma"] >= 0.005 for record in content["records"])


@pytest.mark.slow
def test_what_cannot_be_audited_is_refused_in_one_line(train, capsys):
    folder = train("batch")
    for words, message in (
        (("checkpoints=7",), "train with checkpoint_rounds="),
        (("clients=9-9",), "clients=9-9"),
        (("audit.threats=all",), "audit.threats=all"),
        (("audit.clip=1",), "belong together"),
    ):
        assert run(["audit", f"run={folder}", *words]) == 2
        told = capsys.readouterr().err
        assert message in told and len(told.strip().splitlines()) == 1


@pytest.mark.slow
def test_adversarial_training_is_refused(train, capsys):
    folder = train("adversarial", "algorithm.adv_lambda=0.5", "model.bn=tracked", "test.max_images=4",
                   "algorithm.rescale_init=false", "algorithm.rescale_layer=false")  # fmt: skip
    assert run(["audit", f"run={folder}"]) == 2
    assert "without adversarial training" in capsys.readouterr().err


def test_rounds_to_keep_are_rounds_of_the_run(capsys):
    assert run(["train", "rounds=3", "checkpoint_rounds=[0,4]"]) == 2
    assert "checkpoint_rounds=4: give rounds from 0 (the start) to 3" in capsys.readouterr().err
