"""Replay numbers of I2F: `python tests/replay_i2f.py FILE.npz` prints the worst relative error per kind as JSON.

The file holds entries `<case>/<kind>`. Cases: `lenet/<image>`, `lenet/batch<n>`, `digit_tracked/<image>`,
`digit_batch<n>` (all images unknown), `two_base_models/<model>` and `.../both`, `upload`, `upload_frozen_weights`;
after a batch's or an upload's case `others_known/<image>`. Only cases that the file holds are computed, once each;
kinds that are not ours to match (`compute_exact_bound`, `attack_L2`) are named under "not compared". Inputs are made
from names by fill.py; everything is float64. The error of an entry is max|ours - theirs| / max|theirs|.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

sys.path.insert(0, str(Path(__file__).parent))
import fill

from splitmix.leakage.jacobian import Upload, UploadJacobian
from splitmix.leakage.spectrum import Factor
from splitmix.leakage.uploads import LocalSteps, gradient_upload, local_upload, others_known, side_by_side

SIGMA = 0.01  # of the noise
CASES = r"lenet/(?:batch)?\d+|digit_tracked/\d+|digit_batch\d+|two_base_models/(?:\d+|both)|upload(?:_frozen_weights)?"
NOT_COMPARED = ("compute_exact_bound", "attack_L2")
ILL_CONDITIONED = re.compile(r"digit_batch\d+")
"""Cases whose rank is far below d: the exact error depends on the last bits, and is not compared."""
UNSTABLE = ("I2F_exact", "I2F_exact_vector", "rms_I2F_exact_gauss", "I2F_damped/1e-06")


class Lenet(nn.Module):
    """Three convolutions with sigmoids, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, 2, 2)
        self.conv2 = nn.Conv2d(4, 4, 5, 2, 2)
        self.conv3 = nn.Conv2d(4, 4, 5, 1, 2)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = torch.sigmoid(conv(x))
        return self.fc(x.flatten(1))


class Digit(nn.Module):
    """Two convolutions and two linear layers with batch normalisation."""

    def __init__(self, tracked: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 5, 1, 2), nn.BatchNorm2d(4, track_running_stats=tracked)
        self.conv2, self.bn2 = nn.Conv2d(4, 8, 5, 1, 2), nn.BatchNorm2d(8, track_running_stats=tracked)
        self.fc1, self.bn3 = nn.Linear(32, 16), nn.BatchNorm1d(16, track_running_stats=tracked)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(F.relu(self.bn3(self.fc1(x.flatten(1)))))


def filled(network: nn.Module, prefix: str, gain: float) -> nn.Module:
    """The network in eval mode with the values that its names give."""
    state = {}
    for name, value in network.state_dict().items():
        entry = torch.from_numpy(fill.param(prefix + name, tuple(value.shape)))
        state[name] = entry.double() * (gain if entry.dim() > 1 else 1) if entry.is_floating_point() else entry
    network = network.double()
    network.load_state_dict(state)
    return network.eval()


def noise_of(network: nn.Module, prefix: str) -> np.ndarray:
    """delta, in the order of the parameters."""
    parts = [
        SIGMA * fill.stream("noise/" + prefix + name).standard_normal(tuple(value.shape))
        for name, value in network.named_parameters()
    ]
    return np.concatenate([part.ravel() for part in parts])


def loss_of(network: nn.Module) -> Any:
    """Mean cross-entropy as a function of parameters, images and labels."""
    buffers = dict(network.named_buffers())
    return lambda parameters, images, labels: F.cross_entropy(
        functional_call(network, {**parameters, **buffers}, (images,)), labels
    )


def parameters_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in network.named_parameters()}


def inputs(kind: str, shape: tuple[int, ...], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in float64, and their labels."""
    return (
        torch.from_numpy(fill.images(f"i2f.{kind}/x", count, shape)).double(),
        torch.from_numpy(fill.labels(f"i2f.{kind}/y", count)),
    )


def case_of(name: str) -> tuple[Upload, torch.Tensor, np.ndarray, float | None]:
    """A case: the upload, the unknown images, delta, and the loss where the upload is one gradient."""
    base, _, known = name.partition("/others_known/")
    kind, _, part = base.partition("/")
    position = int(known) if known else None
    if kind == "two_base_models":
        models = (0, 1) if part == "both" else (int(part),)
        images, labels = inputs("lenet", (1, 8, 8), 4)
        networks = [filled(Lenet(), f"i2f.lenet{model}.", 4) for model in models]
        uploads = [gradient_upload(loss_of(net), parameters_of(net), labels[:1]) for net in networks]
        noise = [noise_of(net, f"i2f.lenet{model}.") for model, net in zip(models, networks, strict=True)]
        return side_by_side(uploads), images[:1], np.concatenate(noise), None
    if kind.startswith("digit"):
        batch = int(kind.removeprefix("digit_batch")) if kind != "digit_tracked" else None
        first, count = (0, batch) if batch else (int(part), 1)
        network, prefix = filled(Digit(batch is None), "i2f.digit.", 1), "i2f.digit."
        images, labels = inputs("digit", (3, 8, 8), max(6, first + count))
    else:
        network, prefix = filled(Lenet(), "i2f.lenet.", 4), "i2f.lenet."
        batched = re.fullmatch(r"batch(\d+)", part)
        first, count = (0, int(batched[1])) if batched else (int(part), 1) if part else (0, 4)
        images, labels = inputs("lenet", (1, 8, 8), max(4, first + count))
    images, labels = images[first : first + count], labels[first : first + count]
    loss, parameters = loss_of(network), parameters_of(network)
    value = None
    if kind == "upload":
        upload = local_upload(loss, parameters, [(0, 1), (2, 3)], labels, LocalSteps(0.1, 0.9, 5e-4))
    elif kind == "upload_frozen_weights":
        steps = [gradient_upload(loss, parameters, labels[:2]), gradient_upload(loss, parameters, labels[2:])]

        def upload(x: torch.Tensor) -> dict[str, torch.Tensor]:
            early, late = steps[0](x[:2]), steps[1](x[2:])
            return {name: 1.9 * early[name] + late[name] for name in early}
    else:
        upload = gradient_upload(loss, parameters, labels)
        value = float(loss(parameters, images, labels))
    if position is not None:
        upload, images = others_known(upload, images, position), images[position : position + 1]
    return upload, images, noise_of(network, prefix), value


def computed(case: str, kinds: set[str]) -> dict[str, Any]:
    """Ours of the kinds of one case."""
    upload, images, noise, loss = case_of(case)
    jacobian = UploadJacobian(upload, images)
    ours: dict[str, Any] = {}
    times = jacobian.backward(noise)
    largest = jacobian.largest_eigenvalue()
    for prefix in ("", "dense_"):
        ours |= {f"{prefix}Jdelta": times, f"{prefix}lambda_max": largest}
        ours[f"{prefix}I2F_lb"] = np.linalg.norm(times) / largest
    ours |= {"Jdelta_norm": np.linalg.norm(times), "power_iteration_100": largest}
    flat = np.concatenate([value.detach().numpy().ravel() for value in upload(images).values()])
    ours |= {"grad_norm": np.linalg.norm(flat), "u_norm": np.linalg.norm(flat)}
    ours |= {"grad_probe": fill.probe(case + "/grad", flat), "u_probe": fill.probe(case + "/u", flat)}
    if loss is not None:
        ours["loss"] = loss
    if ILL_CONDITIONED.fullmatch(case):
        kinds = kinds - set(UNSTABLE)
    if not kinds - ours.keys():
        return ours
    rows = jacobian.rows()
    spectrum = Factor.of(rows).spectrum()
    ours |= {
        "eig_JJt": spectrum.eigenvalues.numpy(),
        "rank": spectrum.rank,
        "trace_JJt": float(spectrum.eigenvalues.sum()),
        "rms_I2F_exact_gauss": spectrum.rmse(SIGMA) * np.sqrt(jacobian.pixels),
        "rms_I2F_lb_gauss": spectrum.bound(SIGMA) * np.sqrt(jacobian.pixels),
        "J_probe": fill.probe(case + "/J", rows.numpy()),
        "get_Jacob_probe": fill.probe(case + "/J", rows.numpy()),
    }
    for kind in kinds:
        name, _, value = kind.partition("/")
        if name.startswith("I2F_exact") or name.startswith("I2F_damped"):
            error = jacobian.error(noise, float(value or 0), dense=True)
            ours[kind] = error if name.endswith("vector") else np.linalg.norm(error)
    return ours


def replay(file: Path) -> dict[str, Any]:
    """The worst relative error of each kind of entry over the file's cases, and what was not compared."""
    with np.load(file, allow_pickle=False) as stored:
        entries = {name: stored[name] for name in stored.files}
    cases: dict[str, dict[str, np.ndarray]] = {}
    for name, value in entries.items():
        match = re.match(rf"({CASES})(/others_known/\d+)?/(.+)$", name)
        if match is None:
            raise SystemExit(f"{file}: {name} is of no known case")
        cases.setdefault(match[1] + (match[2] or ""), {})[match[3]] = value
    worst: dict[str, float] = {}
    skipped: set[str] = set()
    for case, theirs in cases.items():
        try:
            ours = computed(case, set(theirs))
        except (ValueError, RuntimeError) as error:
            raise SystemExit(f"{file}: the case {case} cannot be computed: {error}") from error
        for kind, value in theirs.items():
            if kind not in ours or (ILL_CONDITIONED.fullmatch(case) and kind in UNSTABLE):
                skipped.add(kind.partition("/")[0] if kind.startswith(NOT_COMPARED) else f"{case}/{kind}")
                continue
            if np.shape(ours[kind]) != value.shape:
                raise SystemExit(f"{file}: {case}/{kind} has shape {value.shape}, ours {np.shape(ours[kind])}")
            error = float(np.abs(np.asarray(ours[kind]) - value).max() / np.abs(value).max())
            worst[kind] = max(worst.get(kind, 0.0), error)
    return {**{kind: worst[kind] for kind in sorted(worst)}, "not compared": sorted(skipped)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(replay(Path(sys.argv[1])), indent=1))
