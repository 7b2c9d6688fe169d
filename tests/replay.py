"""Replay a vector file: `python tests/replay.py FILE.npz --spec SPEC.json` prints relative errors as JSON.

A vector file holds numbers computed with the method authors' reference implementation, from inputs that `fill.py`
makes from names. SPEC.json says what was run: model, algorithm, atom_width, bn, rescale_layer, lr, batch_size,
masked_loss, adv_lambda, input_shape, classes, and per client its `base_models` (or `budget`).

The error of an entry is max|ours - theirs| / max|theirs|; reported is the largest per group and engine path.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import fill

from splitmix.algorithms.base import Problem, ServerState, Work
from splitmix.algorithms.splitmix import SplitMix, SplitMixMethod
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.evaluation.customize import customize
from splitmix.federation.engine import Engine
from splitmix.federation.engine_settings import EngineSettings
from splitmix.federation.lane_trainer import Trained
from splitmix.federation.optimizers import SGD
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import Tensors

WEIGHTS = (0.5, 0.2, 0.3)
BATCHES = 2
MODELS = {"digit_cnn": DigitCNN}
PATHS = {
    "one lane at a time": EngineSettings(lanes=1, workers=1),
    "packed": EngineSettings(lanes=8, workers=1),
    "packed, lanes of different clients": EngineSettings(lanes=64, workers=1),
    "two workers": EngineSettings(lanes=2, workers=2),
}


def method_of(spec: dict[str, Any]) -> SplitMixMethod:
    """The method that a spec describes."""
    if spec["algorithm"] != "splitmix" or spec["model"] not in MODELS or spec.get("adv_lambda"):
        raise SystemExit(f"cannot replay algorithm={spec['algorithm']} model={spec['model']} yet")
    atom = spec.get("atom_width", 0.125)
    problem = Problem(
        tuple(spec["input_shape"]), spec.get("classes", 10), (atom, 1.0), masked_loss=spec.get("masked_loss", False)
    )
    algorithm = SplitMix(atom_width=atom, rescale_layer=spec["rescale_layer"])
    return algorithm.bind(MODELS[spec["model"]](bn=spec["bn"]), problem)


def initial_state(method: SplitMixMethod) -> ServerState:
    """Every base model's entries, named as in the reference: `<base model>.<layer>.<entry>`."""
    template = method.spec.build(1).state_dict()
    rows = range(method.base_models)
    tensors = {
        name: torch.stack([torch.as_tensor(fill.param(f"{row}.{name}", tuple(value.shape[1:]))) for row in rows])
        for name, value in template.items()
    }
    return ServerState(method, 0, tensors)


def images(spec: dict[str, Any], clients: int) -> ImageSet:
    """All clients' batches one after another: client c's batch i starts at row (c * BATCHES + i) * batch_size."""
    size, shape = spec["batch_size"], tuple(spec["input_shape"])
    names = [(f"client{c}/x{i}", f"client{c}/y{i}") for c in range(clients) for i in range(BATCHES)]
    x = np.concatenate([fill.images(name, size, shape) for name, _ in names])
    y = np.concatenate([fill.labels(name, size, spec.get("classes", 10)) for _, name in names])
    return ImageSet(torch.as_tensor(x), torch.as_tensor(y), (len(x),))


def evaluated(state: ServerState, spec: dict[str, Any], group: str) -> Iterator[tuple[str, Tensor]]:
    """Logits of the mixes in eval mode, as entries `<group>/<width>`."""
    x = torch.as_tensor(fill.images("x", spec["batch_size"], tuple(spec["input_shape"])))
    with torch.no_grad():
        for width in state.method.widths:
            yield f"{group}/{width}", customize(state, width)(x)


def probed(prefix: str, tensors: Tensors, rows: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Probes of lanes, named as in the reference."""
    for lane, row in enumerate(rows):
        for name, value in tensors.items():
            yield f"{prefix}/{row}.{name}", fill.probe(f"{row}.{name}", value[lane].numpy())


def entries(spec: dict[str, Any], settings: EngineSettings) -> Iterator[tuple[str, Any]]:
    """Everything that a vector file can hold, computed on this engine path."""
    method = method_of(spec)
    state = initial_state(method)
    yield from evaluated(state, spec, "logits_eval")
    works = []
    for client, wanted in enumerate(spec["clients"]):
        rows = wanted.get("base_models") or method.draw(0, client, client, 0)
        works.append(Work(client, method.spec, tuple(rows)))
    size = spec["batch_size"]
    batches = [list(torch.arange(c * BATCHES * size, (c + 1) * BATCHES * size).split(size)) for c in range(len(works))]
    data = images(spec, len(works))
    engine = Engine(settings, settings.fabric(), method, SGD(lr=spec["lr"]), Dataset("", (), (), data, data))
    trained: list[Trained] = []
    for result in engine.train(state, works, batches, WEIGHTS[: len(works)], spec["lr"]):
        tensors = {name: value.clone() for name, value in result.update.tensors.items()}
        trained.append(replace(result, update=replace(result.update, tensors=tensors)))
    engine.close()
    for client in range(len(works)):
        parts = [result for result in trained if result.update.work.client == client]
        yield f"client{client}/loss", float(torch.cat([part.losses for part in parts]).mean())
        yield f"client{client}/acc", sum(part.correct for part in parts) / sum(part.samples for part in parts)
        for part in parts:
            yield from probed(f"client{client}/trained", part.update.tensors, part.update.work.rows)
    merged = method.merge(state, (result.update for result in trained))
    yield from probed("server", merged.tensors, tuple(range(method.base_models)))
    yield from evaluated(merged, spec, "logits_after")


def replay(file: Path, spec: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Largest relative error by engine path and group; raises KeyError for an entry that was not computed."""
    expected = dict(np.load(file, allow_pickle=False))
    report: dict[str, dict[str, float]] = {}
    for path, settings in PATHS.items():
        ours = dict(entries(spec, settings))
        worst: dict[str, float] = defaultdict(float)
        for name, value in expected.items():
            parts = name.split("/")
            group = parts[1] if parts[0].startswith("client") else parts[0]
            worst[group] = max(worst[group], relative_error(np.asarray(ours[name]), value))
        report[path] = dict(worst)
    return report


def relative_error(ours: Any, theirs: Any) -> float:
    """max|ours - theirs| / max|theirs|; infinite where ours is not a number or has another shape."""
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Replay a vector file and print relative errors as JSON.")
    parser.add_argument("file", type=Path, help="vector file (.npz)")
    parser.add_argument("--spec", type=Path, required=True, help="what was run (JSON)")
    arguments = parser.parse_args()
    print(json.dumps(replay(arguments.file, json.loads(arguments.spec.read_text())), indent=1))


if __name__ == "__main__":
    main()
