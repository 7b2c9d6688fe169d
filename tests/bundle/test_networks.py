"""Every network and norm as an export: bundles and fixed models of untrained runs against PyTorch."""

import json

import numpy as np
import pytest
import torch
from layouts import tree
from run_folders import config_of, write_run

import splitmix
from splitmix import runtime
from splitmix.bundle.bundle import write_bundle
from splitmix.bundle.deployed import deployed
from splitmix.bundle.fixed import fixed_model, write_fixed
from splitmix.commands import main
from splitmix.config import load_run_config
from splitmix.errors import UserError
from splitmix.federation.build import check_config
from splitmix.runs.checkpoint import Checkpoint, save_checkpoint
from splitmix.trusted import trusted_code

pytestmark = pytest.mark.slow
TRUST = ("own_nets.Digit",)
SMALL = ["clients_per_domain=2", "budget.widths=8-4"]
RUNS = {
    "preresnet18": ["model=preresnet18", *SMALL, "algorithm.adv_lambda=0.5"],
    "alexnet": ["model=alexnet", "dataset=folder", "dataset.image_size=64", *SMALL],
    "vit": ["model=vit", "model.blocks=2", *SMALL, "algorithm.adv_lambda=0.5"],
    "module": ["model=module", "model.factory=own_nets.Digit", *SMALL],
}


def untrained(folder, words, root):
    """A run whose base models were never trained; its normalisation is moved away from its first values."""
    if "dataset=folder" in words:
        words = [*words, f"dataset.root={tree(root / 'images', n=24)}"]
    write_run(folder, words, {1.0: 0.1}, budgets=[1.0] * 4, results={"tests": []})
    method = check_config(load_run_config(config_of(tuple(words)), trusted_code(TRUST)))
    state = method.initial_state(3)
    generator = torch.Generator().manual_seed(5)
    for name, value in state.tensors.items():
        if value.is_floating_point() and value.dim() <= 2 and "running" not in name:
            value += 0.3 * torch.rand(value.shape, generator=generator)
    (folder / "checkpoints").mkdir()
    for name in ("best", "last"):
        save_checkpoint(folder / "checkpoints" / f"{name}.ckpt", Checkpoint(state, -1, -1.0, 0.0))
    return splitmix.load(folder, trust=TRUST)


def images_for(run, count=6):
    return torch.rand(count, *run.input_shape, generator=torch.Generator().manual_seed(1))


def check_equal(logits, expected):
    """Equal as the export demands it, and of images that the model tells apart."""
    expected = expected.detach().numpy()
    assert expected.std(0).max() > 1e-3
    np.testing.assert_allclose(np.asarray(logits), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", RUNS)
def test_bundles_of_every_network(tmp_path, name):
    run = untrained(tmp_path / "run", RUNS[name], tmp_path)
    held = deployed(run, "train", "train")
    values = write_bundle(held, tmp_path / "bundle", 8, lambda said: None)
    assert len(values["exported"]) == len(run.widths) * len(run.adv_lambdas)
    images = images_for(run)
    small = runtime.load(tmp_path / "bundle")
    elastic = splitmix.ElasticModel.from_pretrained(tmp_path / "bundle", trust=TRUST)
    for count, width in enumerate(run.widths, 1):
        for level in held.levels:
            expected = held.model(count, level)(images)
            small.set(width=width, adv_lambda=level)
            check_equal(small.mixed_logits(images.numpy(), count), expected)
            check_equal(elastic.set(width=width, adv_lambda=level)(images), expected)
    if name == "module":
        with pytest.raises(UserError, match=r"own_nets\.Digit"):
            splitmix.ElasticModel.from_pretrained(tmp_path / "bundle")  # code that nobody trusted


@pytest.mark.parametrize(
    ("name", "format"), [("alexnet", "onnx"), ("vit", "onnx"), ("vit", "torch_export"), ("module", "torch_export")]
)
def test_fixed_models_of_every_network(tmp_path, name, format):
    run = untrained(tmp_path / "run", RUNS[name], tmp_path)
    check_fixed(run, tmp_path, format, run.widths[0], 0.0)


@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_conditioned_norms_as_fixed_models(tmp_path, format):
    words = ["algorithm=fedavg_oat", "algorithm.width=0.25", "model.bn=tracked", "clients_per_domain=2"]
    run = untrained(tmp_path / "run", words, tmp_path)
    images = images_for(run)
    ends = [fixed_model(run, 0.25, level, "train")(images) for level in (0.0, 1.0)]
    assert (ends[0] - ends[1]).abs().max() > 1e-3  # the level does something
    check_fixed(run, tmp_path, format, 0.25, 0.35)
    with pytest.raises(UserError, match=r"algorithm=fedavg_oat has one network per width; give format=onnx, torch_exp"):
        deployed(run, "train", "train")


def check_fixed(run, folder, format, width, level):
    """Write one fixed model, load it as its runtime does, and compare."""
    out = folder / {"onnx": "model.onnx", "torch_export": "model.pt2"}[format]
    write_fixed(run, out, format, width, level, "train", max_images=8, say=lambda said: None)
    images = images_for(run, 5)
    if format == "onnx":
        import onnxruntime

        logits, _ = onnxruntime.InferenceSession(str(out)).run(None, {"image": images.numpy()})
    else:
        logits = torch.export.load(out).module()(images).detach()
    check_equal(logits, fixed_model(run, width, level, "train")(images))


def test_a_folder_of_images_fixes_the_statistics(tmp_path, capsys):
    from PIL import Image

    run = untrained(tmp_path / "run", SMALL, tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(pictures / f"{number}.png")
    words = ["export", f"run={tmp_path / 'run'}", "max_images=20", f"calibration={pictures}"]
    assert main([*words, f"out={tmp_path / 'bundle'}", "license=Apache-2.0"]) == 0
    values = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert values["statistics"] == f"estimated on 6 images of {pictures}" and values["license"] == "Apache-2.0"
    assert (tmp_path / "bundle" / "README.md").read_text().startswith("---\nlicense: apache-2.0\n")
    images = images_for(run)
    expected = run.customize(0.25, calibration=torch.from_numpy(pixels).permute(0, 3, 1, 2))(images)
    check_equal(splitmix.ElasticModel.load(tmp_path / "bundle")(images), expected)
    assert (run.customize(0.25, calibration="train")(images) - expected).abs().max() > 1e-2  # others were others
    (pictures / "7.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert main([*words, f"out={tmp_path / 'other'}"]) == 2
    assert "7.png" in capsys.readouterr().err and not (tmp_path / "other").exists()
