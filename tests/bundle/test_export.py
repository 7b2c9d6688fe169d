"""`splitmix export` of small runs, and what holds the bundle: onnxruntime, splitmix.runtime, ElasticModel."""

import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import splitmix
from splitmix import runtime
from splitmix.commands import main
from splitmix.errors import UserError

pytestmark = pytest.mark.slow
SMALL = ["debug=quick", "budget.widths=8-8d4", "engine.workers=1", "engine.threads=1"]
DUAL = ["algorithm.adv_lambda=0.5", "model.bn=tracked", "algorithm.rescale_init=false", "algorithm.rescale_layer=false"]
RUNS = {"plain": [], "dual": DUAL, "dual_batch": [DUAL[0], *DUAL[2:]]}
IMAGES = torch.rand(40, 3, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of four base models by name, and their bundles `<name>_bundle`."""
    root = tmp_path_factory.mktemp("export")
    for name, words in RUNS.items():
        assert main(["train", *SMALL, *words, f"hydra.run.dir={root / name}"]) == 0
        assert main(["export", f"run={root / name}", f"out={root / name}_bundle", "max_images=60"]) == 0
    return root


def dials(folder, name):
    """Every position of the dials with PyTorch's logits there."""
    run = splitmix.load(folder / name)
    for level in run.adv_lambdas:
        for count, width in enumerate(run.widths, 1):
            # The statistics of two branches in batch mode are those of the ends (see `deployed`).
            if name != "dual_batch" or level in (0, 1):
                calibration = None if name == "dual" else "train"
                yield count, width, level, run.customize(width, level, calibration=calibration)(IMAGES).detach().numpy()


@pytest.mark.parametrize("name", RUNS)
def test_every_holder_gives_the_customised_model(folder, name):
    import onnxruntime

    bundle = folder / f"{name}_bundle"
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    models = [runtime.load(bundle), splitmix.ElasticModel.from_pretrained(bundle)]
    seen = set()
    for count, width, level, expected in dials(folder, name):
        inputs = {"image": IMAGES.numpy(), "base_models": np.array(count)}
        if name != "plain":
            inputs["adv_lambda"] = np.array(level, np.float32)
        logits, probabilities = session.run(None, inputs)
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        for model in models:
            model.set(width=width, adv_lambda=level)
            np.testing.assert_allclose(model.predict(IMAGES).probabilities, probabilities, atol=1e-4)
            np.testing.assert_allclose(list(model.stream(IMAGES))[-1].probabilities, probabilities, atol=1e-4)
        np.testing.assert_allclose(models[1](IMAGES), expected, atol=1e-4)
        seen.add((count, level))
    assert len(seen) == {"plain": 4, "dual": 20, "dual_batch": 8}[name]


@pytest.mark.parametrize(("base_models", "level"), [(0, 0.5), (5, 0.5), (-1, 0.5), (1, 1.5), (1, -0.1), (1, np.nan)])
def test_what_is_not_held_is_an_error_in_any_runtime(folder, base_models, level):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "dual_bundle" / "model.onnx"))
    inputs = {"image": IMAGES.numpy(), "base_models": np.array(base_models), "adv_lambda": np.array(level, np.float32)}
    with pytest.raises(Exception, match=r"must_be_from_[01]_to_[14]"):
        session.run(None, inputs)


def test_the_weights_lie_once(folder):
    bundle = folder / "plain_bundle"
    values = json.loads((bundle / "manifest.json").read_text())
    raw = 4 * values["costs"][-1]["params"]
    parts = sum(path.stat().st_size for path in (bundle / "parts").iterdir())
    assert raw <= parts <= 1.02 * raw and parts == values["costs"][-1]["bytes"]
    assert parts + (bundle / "model.onnx").stat().st_size <= 1.05 * raw
    card = (bundle / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown\nlibrary_name: splitmix\n") and "×0.375" in card
    assert "named none (`license=`)" in card
    assert values["exported"][-1]["difference"] <= 1e-4 and "root" in values["training"]["dataset"]
    assert "What λ does not buy" in (folder / "dual_bundle" / "README.md").read_text()


def test_a_part_of_the_download_is_a_narrower_model(folder, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(folder / "dual_bundle", part)
    for number in (2, 3):
        (part / "parts" / f"b{number}.safetensors").rename(tmp_path / f"b{number}")
    for load in (runtime.load, splitmix.ElasticModel.load):
        model = load(part)
        assert model.widths == (0.125, 0.25) and model.width == 0.25
        with pytest.raises(UserError, match=r"width=0.5: needs 4 base models.*missing: parts/b2.safetensors"):
            model.set(width=0.5)
    model = runtime.load(part).set(width=0.125)
    model.predict(IMAGES[0])
    assert model.sessions.read == [0]
    model.set(width=0.25).predict(IMAGES[0])
    assert model.sessions.read == [0, 1]
    for number in (2, 3):
        (tmp_path / f"b{number}").rename(part / "parts" / f"b{number}.safetensors")
    opened = []
    model.sessions.start = lambda number, start=model.sessions.start: opened.append(number) or start(number)
    model.set(width=0.5).predict(IMAGES[0])
    assert opened == [2, 3]  # from x0.25 to x0.5 two more parts are read, those held already are not


@pytest.mark.parametrize("holder", ["runtime", "elastic"])
def test_a_thousand_settings_from_eight_threads(folder, holder):
    first = (runtime.load if holder == "runtime" else splitmix.ElasticModel.load)(folder / "dual_bundle")
    positions = [(width, level) for width in first.widths for level in (0.0, 0.35, 1.0)]
    image = IMAGES[0]
    expected = {one: first.set(*one).predict(image).probabilities for one in positions}

    def work(seed):
        model, draw = first.handle(), random.Random(seed)
        for _ in range(125):
            one = draw.choice(positions)
            start = perf_counter()
            model.set(*one)
            times.append(perf_counter() - start)
            np.testing.assert_allclose(model.predict(image).probabilities, expected[one], atol=1e-5)

    times: list[float] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(times) == 1000 and sorted(times)[500] < 1e-3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "parts/b0.safetensors").write_bytes(b"x"), r"b0.safetensors has 1 bytes instead of"),
        (lambda b: flip(b / "parts/b0.safetensors"), r"b0.safetensors was altered \(its SHA-256"),
        (lambda b: change(b, schema=2), "manifest.json has schema 2, and this splitmix reads up to 1: upgrade"),
        (lambda b: (b / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda b: change(b, widths=[1]), "manifest.json is damaged"),
        (lambda b: change(b, parts=[{"file": "../../x", "bytes": 1, "sha256": ""}] * 4), "is no name of a part"),
        (lambda b: (b / "parts/b0.safetensors").unlink(), "holds 0; missing: parts/b0.safetensors"),
    ],
)
def test_a_damaged_bundle_is_one_line(folder, tmp_path, damage, message):
    bundle = tmp_path / "bundle"
    shutil.copytree(folder / "dual_bundle", bundle)
    damage(bundle)
    for use in (lambda: splitmix.ElasticModel.load(bundle), lambda: runtime.load(bundle).predict(IMAGES[0])):
        with pytest.raises(UserError, match=message) as error:
            use()
        assert "\n" not in str(error.value)


def flip(path: Path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(bundle, **values):
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_manifest_imports_no_code_of_a_stranger(folder, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(folder / "plain_bundle", bundle)
    training = json.loads((bundle / "manifest.json").read_text())["training"]
    change(bundle, training={**training, "model": {"_target_": "os.system"}})
    with pytest.raises(UserError, match=r"model._target_=os.system: a run folder may name any code"):
        splitmix.ElasticModel.load(bundle)


def test_the_hub_by_a_fake_of_its_api(folder, tmp_path, monkeypatch):
    import huggingface_hub

    repository, asked = tmp_path / "repository", []

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, private, exist_ok):
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message, revision):
            for name in allow_patterns:
                (repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(folder_path) / name, repository / name)
            return SimpleNamespace(commit_url=f"address of {repo_id}")

    def snapshot(repo_id, allow_patterns, revision=None, token=None, cache_dir=None):
        asked.extend(allow_patterns)
        for name in allow_patterns:
            (Path(cache_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, Path(cache_dir) / name)
        return str(cache_dir)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = splitmix.ElasticModel.load(folder / "plain_bundle")
    assert model.push_to_hub("digits") == "address of me/digits"
    got = splitmix.ElasticModel.from_pretrained("me/digits", width=0.25, cache_dir=tmp_path / "cache")
    assert [name for name in asked if "parts" in name] == ["parts/b0.safetensors", "parts/b1.safetensors"]
    torch.testing.assert_close(got(IMAGES), model.set(width=0.25)(IMAGES))
    again = splitmix.ElasticModel.load(got.save_pretrained(tmp_path / "saved"))
    assert again.widths == (0.125, 0.25)
    with pytest.raises(UserError, match="saved: exists"):
        got.save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(("name", "format"), [("plain", "onnx"), ("dual", "onnx"), ("dual", "torch_export")])
def test_fixed_formats(folder, tmp_path, name, format):
    out = tmp_path / ("model.onnx" if format == "onnx" else "model.pt2")
    words = ["adv_lambda=0.5"] if name == "dual" else []
    assert (
        main(
            ["export", f"run={folder / name}", f"format={format}", f"out={out}", "width=0.25", "max_images=60", *words]
        )
        == 0
    )
    run = splitmix.load(folder / name)
    expected = run.customize(0.25, 0.5 * (name == "dual"), calibration=None if name == "dual" else "train")(
        IMAGES
    ).detach()
    if format == "onnx":
        import onnxruntime

        logits, _ = onnxruntime.InferenceSession(str(out)).run(None, {"image": IMAGES.numpy()})
        logits = torch.from_numpy(logits)
    else:
        logits = torch.export.load(out).module()(IMAGES)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert list(tmp_path.iterdir()) == [out]


def test_int8_is_refused_where_it_costs_too_much(folder, tmp_path, capsys, monkeypatch):
    words = ["export", f"run={folder / 'plain'}", "format=onnx", "quantize=int8", "max_images=100"]
    assert main([*words, f"out={tmp_path / 'a.onnx'}", "max_drop=100"]) == 0
    small = (tmp_path / "a.onnx").stat().st_size
    assert small < 0.4 * 4 * splitmix.load(folder / "plain").results["widths"]["0.375"]["params"]
    assert "before quantisation" in capsys.readouterr().out
    accuracies = iter([0.9, 0.87, 0.9, 0.87])
    monkeypatch.setattr("splitmix.bundle.check.TestImages.accuracy", lambda test, logits: next(accuracies))
    assert main([*words, f"out={tmp_path / 'b.onnx'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith(
        "quantize=int8: accuracy falls from 90.0 % to 87.0 %, by more than max_drop=2 points; raise max_drop, or"
        " quantize=none"
    )
    assert main([*words, f"out={tmp_path / 'c.onnx'}", "max_drop=3.1"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "c.onnx"]


def test_one_line_for_every_mistake(folder, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    run = f"run={folder / 'plain'}"
    for words, message in (
        ([run, "out=null"], "out=null: give a folder"),
        ([run, f"out={taken}"], "exists; choose another name, or force=true"),
        ([run, f"out={taken}", "force=true"], "holds no bundle, so not even force=true"),
        ([run, f"out={tmp_path / 'a'}", "format=onyx"], "format=onyx: no such format (did you mean onnx?)"),
        ([run, f"out={tmp_path / 'a'}", "format=onnx"], "name a file that ends in .onnx"),
        ([run, f"out={tmp_path / 'a'}", "width=0.25"], "format=bundle: holds every width"),
        ([run, f"out={tmp_path / 'a.onnx'}"], "a bundle is a folder; name one, or give format=onnx"),
        ([run, f"out={tmp_path / 'a.pt2'}", "format=torch_export", "width=0.3"], "width=0.3: "),
        ([run, f"out={tmp_path / 'a.pt2'}", "format=torch_export", "adv_lambda=0.3"], "adv_lambda=0.3: the run was"),
        ([run, f"out={tmp_path / 'a'}", "quantize=int8"], "quantize=int8: format=bundle has no int8"),
        ([run, f"out={tmp_path / 'a'}", "license='my own: see below'"], "license=my own: see below: give a name"),
        ([run, f"out={tmp_path / 'a.pt2'}", "format=torch_export", "license=MIT"], "stands on the card of a bundle"),
        ([run, f"out={tmp_path / 'a'}", f"calibration={taken}"], "holds 0 png or jpg images"),
        ([f"run={tmp_path}", f"out={tmp_path / 'a'}"], "not a run folder"),
    ):
        assert main(["export", *words]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error, error
    assert (taken / "thesis.txt").read_text() == "mine" and list(tmp_path.iterdir()) == [taken]
