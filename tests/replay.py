"""Replay a vector file: `python tests/replay.py FILE.npz --spec SPEC.json` prints relative errors as JSON.

A vector file holds numbers computed with the method authors' reference implementation, from inputs that `fill.py`
makes from names. SPEC.json says what was run: model (digit_cnn, preresnet18, alexnet), algorithm (splitmix, fedavg,
heterofl, sheterofl), atom_width or (fedavg) width, bn, rescale_layer, lr, batch_size, masked_loss, adv_lambda,
input_shape, classes, weighting (sheterofl: samples or widths), and per client its `base_models` (splitmix) or `budget`.

The error of an entry is max|ours - theirs| / max|theirs|; reported is the largest per group and engine path.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import fill

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.method import Method
from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import ServerState
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.engine.engine import Engine
from splitmix.engine.finishing import Trained
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.evaluation.customize import customize
from splitmix.models.alexnet import AlexNet
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.models.preresnet18 import PreResNet18
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.runs.reference_names import reference_name

WEIGHTS = (0.5, 0.2, 0.3)
BATCHES = 2
WIDTHS = (0.125, 0.25, 0.5, 1.0)
LEVELS = (0.0, 0.2, 0.5, 1.0)
ATTACK = LinfPGD(random_start=False)
ALGORITHMS = ("splitmix", "fedavg", "heterofl", "sheterofl")
MODELS = {"digit_cnn": DigitCNN, "preresnet18": PreResNet18, "alexnet": AlexNet}
PATHS = {
    "one lane at a time": EngineSettings(lanes=1, workers=1, threads=1),
    "packed": EngineSettings(lanes=8, workers=1, threads=1),
    "packed, lanes of different clients": EngineSettings(lanes=64, workers=1, threads=1),
    "two workers": EngineSettings(lanes=2, workers=2),
}
"""Run in float64 unless asked otherwise: in float32 an activation that happens to lie within rounding of zero may fall
on the other side of a ReLU than in the reference, which moves a few entries by more than the tolerance."""


def method_of(spec: dict[str, Any]) -> Method:
    """The method that a spec describes."""
    if spec["algorithm"] not in ALGORITHMS or spec["model"] not in MODELS:
        raise SystemExit(f"cannot replay algorithm={spec['algorithm']} model={spec['model']}")
    atom, adv_lambda = spec.get("atom_width", 0.125), spec.get("adv_lambda", 0.0)
    algorithm = {
        "splitmix": lambda: SplitMix(atom, rescale_layer=spec["rescale_layer"], adv_lambda=adv_lambda),
        "fedavg": lambda: FedAvg(spec["width"], adv_lambda=adv_lambda),
        "heterofl": lambda: HeteroFL(rescale_layer=spec.get("rescale_layer", True)),
        "sheterofl": lambda: SHeteroFL(
            rescale_layer=spec.get("rescale_layer", True),
            candidates=tuple(WIDTHS),
            weighting=spec.get("weighting", "samples"),
        ),
    }[spec["algorithm"]]()
    budgets = tuple(client.get("budget", 1.0) for client in spec["clients"])
    if spec["algorithm"] == "splitmix":
        budgets = (*[client.get("budget", atom) for client in spec["clients"]], 1.0)
    problem = Problem(
        tuple(spec["input_shape"]),
        spec.get("classes", 10),
        budgets,
        masked_loss=spec.get("masked_loss", False),
        attack=ATTACK,
    )
    return algorithm.bind(MODELS[spec["model"]](bn=spec["bn"]), problem)


def server_spec(method: Method) -> NetworkSpec:
    """The architecture of one row of the server's tensors."""
    return method.server_network


def initial_state(method: Method) -> ServerState:
    """Every entry, named as in the reference, made from its name."""
    spec, fresh = server_spec(method), method.initial_state(0)
    tensors = {
        name: torch.stack(
            [
                torch.as_tensor(fill.param(reference_name(method, spec, row, name), tuple(value.shape[1:])))
                for row in range(method.base_models)
            ]
        )
        for name, value in fresh.tensors.items()
    }
    clients = {name: tensors[name].expand(value.shape).clone() for name, value in fresh.clients.items()}
    return ServerState(0, tensors, clients=clients)


def images(spec: dict[str, Any], clients: int) -> ImageSet:
    """All clients' batches one after another: client c's batch i starts at row (c * BATCHES + i) * batch_size."""
    size, shape = spec["batch_size"], tuple(spec["input_shape"])
    names = [(f"client{c}/x{i}", f"client{c}/y{i}") for c in range(clients) for i in range(BATCHES)]
    x = np.concatenate([fill.images(name, size, shape) for name, _ in names])
    y = np.concatenate([fill.labels(name, size, spec.get("classes", 10)) for _, name in names])
    return ImageSet(torch.as_tensor(x), torch.as_tensor(y), (len(x),))


def customised(method: Method, state: ServerState, spec: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Logits of the customised models at every width and level of robustness, on clean and on attacked images."""
    n = spec["batch_size"]
    x = torch.as_tensor(fill.images("x", n, tuple(spec["input_shape"])))
    y = torch.as_tensor(fill.labels("y", n, spec.get("classes", 10)))
    for level in LEVELS:
        for width in WIDTHS:
            model = customize(method, state, width, level, client=0 if state.local else None)
            attacked = ATTACK.perturb(model, x, y, Draws([], []))
            with torch.no_grad():
                yield f"logits_mix/{width}/{level}", model(x)
                yield f"pgd/{width}/{level}", fill.probe("pgd", attacked.numpy())
                yield f"pgd_logits/{width}/{level}", model(attacked)


def evaluated(method: Method, state: ServerState, spec: dict[str, Any], group: str) -> Iterator[tuple[str, Tensor]]:
    """Logits in eval mode, as entries `<group>/<width>`, or `<group>` for a method of a single width."""
    x = torch.as_tensor(fill.images("x", spec["batch_size"], tuple(spec["input_shape"])))
    single = len(method.widths) == 1
    with torch.no_grad():
        for width in method.widths if single else WIDTHS:
            model = customize(method, state, width, client=0 if state.local else None)
            yield group if single else f"{group}/{width}", model(x)


def probed(
    prefix: str, method: Method, spec: NetworkSpec, tensors: Tensors, rows: Sequence[int]
) -> Iterator[tuple[str, Any]]:
    """Probes of lanes, named as in the reference."""
    for lane, row in enumerate(rows):
        for name, value in tensors.items():
            key = reference_name(method, spec, row, name)
            yield f"{prefix}/{key}", fill.probe(key, value[lane].numpy())


def entries(spec: dict[str, Any], settings: EngineSettings) -> Iterator[tuple[str, Any]]:
    """Everything that a vector file can hold, computed on this engine path."""
    method = method_of(spec)
    state = initial_state(method)
    yield from evaluated(method, state, spec, "logits_eval")
    if len(method.adv_lambdas) > 1:
        yield from customised(method, state, spec)
    # The reference reports half of the loss of a network with two branches.
    reported = 0.5 if len(method.adv_lambdas) > 1 else 1.0
    tasks = [
        replace(task, base_models=tuple(client.get("base_models", task.base_models)))
        for task, client in zip(method.plan(state, range(len(spec["clients"])), 0), spec["clients"], strict=True)
    ]
    size = spec["batch_size"]
    batches = [list(torch.arange(c * BATCHES * size, (c + 1) * BATCHES * size).split(size)) for c in range(len(tasks))]
    data = images(spec, len(tasks))
    engine = Engine(settings, settings.fabric(), method, SGD(lr=spec["lr"]), Dataset("", (), (), data, data))
    trained: list[Trained] = []
    aggregate = method.no_updates(state)
    clients = {name: value.clone() for name, value in state.clients.items()}
    for result in engine.train(state, tasks, batches, WEIGHTS[: len(tasks)], spec["lr"]):
        tensors = {name: value.clone() for name, value in (result.update.tensors | result.memory).items()}
        aggregate = method.accumulate(aggregate, result.update)
        for name, value in result.memory.items():
            clients[name][result.update.task.client, list(result.update.task.base_models)] = value
        trained.append(replace(result, update=replace(result.update, tensors=tensors)))
    engine.close()
    for client in range(len(tasks)):
        parts = [result for result in trained if result.update.task.client == client]
        yield (
            f"client{client}/loss",
            reported * float(torch.cat([part.update.measurements["loss"] for part in parts]).mean()),
        )
        yield f"client{client}/acc", float(torch.cat([part.update.measurements["accuracy"] for part in parts]).mean())
        for part in parts:
            task = part.update.task
            yield from probed(f"client{client}/trained", method, task.spec, part.update.tensors, task.base_models)
    merged = replace(method.finalise(state, aggregate), clients=clients)
    yield from probed("server", method, server_spec(method), merged.tensors, range(method.base_models))
    yield from evaluated(method, merged, spec, "logits_after")


def replay(
    file: Path, spec: dict[str, Any], precision: str = "64-true", paths: Sequence[str] = tuple(PATHS)
) -> dict[str, dict[str, float]]:
    """Largest relative error by engine path and group; raises KeyError for an entry that was not computed.

    The group `trained, median lane` tells apart what is wrong everywhere from a lane or two in which an attack's step
    went the other way for a pixel: a unit within float32 rounding of zero does that, in the reference as here.
    """
    expected = dict(np.load(file, allow_pickle=False))
    method = method_of(spec)
    report: dict[str, dict[str, float]] = {}
    for path in paths:
        ours = dict(entries(spec, replace(PATHS[path], precision=precision)))
        worst: dict[str, float] = defaultdict(float)
        lanes: dict[str, float] = defaultdict(float)
        for name, value in expected.items():
            parts = name.split("/")
            group = parts[1] if parts[0].startswith("client") else parts[0]
            error = relative_error(np.asarray(ours[name]), value)
            worst[group] = max(worst[group], error)
            if group == "trained":
                lane = f"{parts[0]} {parts[2].partition('.')[0] if method.mixes else ''}"
                lanes[lane] = max(lanes[lane], error)
        report[path] = {**worst, "trained, median lane": float(np.median(list(lanes.values())))}
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
    parser.add_argument("--precision", default="64-true", help="engine.precision: 64-true (default) or 32-true")
    arguments = parser.parse_args()
    print(json.dumps(replay(arguments.file, json.loads(arguments.spec.read_text()), arguments.precision), indent=1))


if __name__ == "__main__":
    main()
