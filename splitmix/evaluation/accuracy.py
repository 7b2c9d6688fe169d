"""Accuracy of every client at every width, in one pass over the base models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splitmix.algorithms.base import MixGroup
from splitmix.algorithms.method import Method
from splitmix.data.clients import ClientData
from splitmix.data.dataset import ImageSet, to_float
from splitmix.evaluation.customized import CustomizedLanes
from splitmix.evaluation.mixing import MEAN, mixes
from splitmix.evaluation.predictions import PredictionLog, Predictions, joined
from splitmix.evaluation.statistics import calibration_batches
from splitmix.models.dependence import predicts_alone
from splitmix.models.network import Tensors
from splitmix.on_device import on_device

if TYPE_CHECKING:
    import pandas as pd

Calibration = tuple[Tensor, Sequence[Sequence[Tensor]]]
"""Images, and per client the batches of rows from which to estimate statistics before it is evaluated."""


@dataclass(frozen=True)
class Accuracy:
    """Share of right predictions, in [0, 1].

    Attributes:
        widths: the widths, in the order of the columns.
        per_client: float64 `[clients, widths]`.
        per_base: float64 `[clients, base models]`: each base model alone.
        n_images: number of images predicted.
        predictions: those of every image, by width, if they were asked for.
    """

    widths: tuple[float, ...]
    per_client: Tensor
    per_base: Tensor
    n_images: int
    predictions: Mapping[float, Predictions] = field(default_factory=dict)

    def mean(self) -> dict[float, float]:
        """Unweighted mean over all clients, by width."""
        return dict(zip(self.widths, self.per_client.mean(0).tolist(), strict=True))

    def to_frame(self, clients: Sequence[ClientData] = ()) -> pd.DataFrame:
        """A row per client and a column per width, in [0, 1].

        Args:
            clients: those of the rows, such as `federation.clients`: their ids and domains become the index.
        """
        import pandas as pd

        names = [(client.id, client.domain) for client in clients]
        index = pd.MultiIndex.from_tuples(names, names=["client", "domain"]) if names else None
        frame = pd.DataFrame(self.per_client.numpy(), index, pd.Index(self.widths, name="width"))
        return frame if names else frame.rename_axis(index="client")

    def __repr__(self) -> str:
        means = ", ".join(f"×{width:g} {100 * value:.1f} %" for width, value in self.mean().items())
        return f"Accuracy({means}; {len(self.per_client)} clients, {self.n_images} images)"

    def order(self) -> list[int]:
        """Base models from the best to the worst mean accuracy; equal ones stay in order."""
        return sorted(range(self.per_base.shape[1]), key=lambda base: -float(self.per_base[:, base].mean()))


def of_parts(parts: Sequence[Accuracy]) -> Accuracy:
    """The accuracy of all clients, from that of neighbouring ones."""
    per_client, per_base = (torch.cat([getattr(part, name) for part in parts]) for name in ("per_client", "per_base"))
    firsts = accumulate((len(part.per_client) for part in parts[:-1]), initial=0)
    predictions = joined((first, part.predictions) for first, part in zip(firsts, parts, strict=True))
    return Accuracy(parts[0].widths, per_client, per_base, sum(part.n_images for part in parts), predictions)


@torch.no_grad()
def evaluate(
    groups: Sequence[MixGroup],
    images: ImageSet,
    batches: Sequence[Sequence[Tensor]],
    *,
    adv_lambda: float = 0.0,
    calibration: Calibration | None = None,
    statistics: Sequence[Tensors] | None = None,
    clients: Tensors | None = None,
    batches_per_pass: int = 1,
    dtype: torch.dtype = torch.float32,
    predictions: bool = False,
    mix: str = MEAN,
    present: Tensor | None = None,
) -> Accuracy:
    """Evaluate the customised models of all widths on every client.

    Args:
        groups: what the widths mix.
        images: uint8, on the device to evaluate on.
        batches: rows of `images`, per client, batch by batch. With batch normalisation in mode `batch` the result
            depends on this cut.
        adv_lambda: level of robustness, where the method can give several.
        calibration: images, and per client the batches of them from which statistics are estimated before that
            client is evaluated (BN mode `post`).
        statistics: running statistics that all clients share, from `shared_statistics`.
        clients: every client's own batch normalisation, `[clients, base models, ...]` (BN mode `local`).
        batches_per_pass: batches of equal size, of any clients, that go through the network in one pass.
        dtype: of parameters and images.
        predictions: also give those of every image.
        mix: how base models' logits are joined, one of `JOINS`.
        present: for them, bool `[clients, classes]`, the classes that each client has training images of; None are all.
    """
    device = images.images.device
    samples = torch.tensor([sum(len(rows) for rows in client) for client in batches])
    widths = [width for group in groups for width in group.sizes]
    per_client = torch.zeros(len(batches), len(widths), dtype=torch.float64)
    per_base = torch.zeros(len(batches), 0, dtype=torch.float64)
    log = PredictionLog(present)
    estimated = calibration is not None or statistics is not None
    for number, group in enumerate(groups):
        lanes = CustomizedLanes(group, adv_lambda, clients=clients, estimated=estimated, device=device, dtype=dtype)
        network = lanes.network
        if statistics is not None:
            network.load_entries(statistics[number])
        sizes = list(group.sizes.values())
        right = torch.zeros(len(batches), len(sizes), device=device)
        alone = torch.zeros(len(batches), network.lanes, device=device)
        everyone = range(len(batches))
        for turn in [[client] for client in everyone] if clients or calibration else [everyone]:
            lanes.load_client(turn[0])
            if calibration is not None:
                source, rows_of = calibration
                lanes.estimate(source[rows] for rows in rows_of[turn[0]])
            of_turn = [(client, rows) for client in turn for rows in batches[client]]
            for numbers, rows in equal_batches(of_turn, batches_per_pass):
                for norm in network.batch_norms():
                    norm.segments = len(numbers)
                of_clients, rows = on_device(numbers, device), on_device(rows, device)
                labels = images.labels[rows].flatten()
                logits = network(to_float(images.images.index_select(0, rows.flatten()), dtype))
                mixed = mixes(logits, sizes, mix)
                if predictions:
                    for width, of_width in zip(group.sizes, mixed, strict=True):
                        log.add(width, numbers.repeat_interleave(rows.shape[1]), labels, of_width)
                for count, hits in ((right, mixed.argmax(-1) == labels), (alone, logits.argmax(-1) == labels)):
                    count.index_add_(0, of_clients, hits.unflatten(1, rows.shape).sum(-1).T.float())
        columns = [widths.index(width) for width in group.sizes]
        per_client[:, columns] = right.cpu().double() / samples.unsqueeze(1)
        per_base = torch.cat([per_base, alone.cpu().double() / samples.unsqueeze(1)], 1)
    return Accuracy(tuple(widths), per_client, per_base, int(samples.sum()), log.by_width())


@torch.no_grad()
def shared_statistics(
    groups: Sequence[MixGroup],
    images: Tensor,
    rows: Tensor,
    *,
    adv_lambda: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> list[Tensors]:
    """The running statistics, on the CPU, that `customize` estimates for these widths, one set for all clients.

    Args:
        groups, adv_lambda, dtype: as for `evaluate`.
        images: uint8, on the device to compute on.
        rows: the calibration images among them.

    Returns:
        Entries of the network of each group, in their order.
    """
    entries = []
    for group in groups:
        lanes = CustomizedLanes(group, adv_lambda, estimated=True, device=images.device, dtype=dtype)
        lanes.estimate(images.index_select(0, batch) for batch in calibration_batches(rows.to(images.device)))
        entries.append({name: value.cpu() for name, value in lanes.network.named_buffers()})
    return entries


def keeps_statistics(method: Method) -> bool:
    """Whether the method's networks keep what statistics they need: then no prediction depends on its batch."""
    return predicts_alone(method.server_network)


def equal_batches(batches: Sequence[tuple[int, Tensor]], batches_per_pass: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Client numbers `[k]` and rows `[k, n]` of up to `batches_per_pass` batches of equal size `n` at a time."""
    by_size: dict[int, list[tuple[int, Tensor]]] = defaultdict(list)
    for client, rows in batches:
        by_size[len(rows)].append((client, rows))
    for equal in by_size.values():
        for low in range(0, len(equal), batches_per_pass):
            chunk = equal[low : low + batches_per_pass]
            yield torch.tensor([client for client, _ in chunk]), torch.stack([rows for _, rows in chunk])
