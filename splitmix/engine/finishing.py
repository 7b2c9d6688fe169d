"""The end of a client's round: from trained lanes to what the client uploads and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splitmix.algorithms.base import LocalTraining
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import Aggregate, ClientTask, Update
from splitmix.engine.lane_starts import Fetch
from splitmix.engine.lane_trainer import PackResult, claimed_counts
from splitmix.engine.packing import Pack
from splitmix.models.network import Tensors, parameter_entries
from splitmix.randomness import torch_rng


@dataclass(frozen=True)
class Trained:
    """Lanes of a client that came back.

    Attributes:
        update: what the client uploads; its tensors are only valid until the next `Trained` is asked for.
        memory: what the client remembers for these lanes, `[lanes, ...]`; valid as long.
        data_s: seconds that the whole pack spent gathering batches, on its first `Trained`.
        in_sums: another rank, or a GPU, has added up this update with others; it has no tensors of its own.
        sums: of the last `Trained` of such a rank or GPU: what the updates add up to.
    """

    update: Update
    memory: Tensors
    data_s: float
    in_sums: bool = False
    sums: Aggregate | None = None

    def into(self, aggregate: Aggregate, method: Method) -> Aggregate:
        """The aggregate with this update, or with the sums that it ends."""
        if not self.in_sums:
            return method.accumulate(aggregate, self.update)
        return aggregate if self.sums is None else method.combine(aggregate, self.sums)


def added_up(parts: Iterable[Trained], sums: Callable[[], Aggregate | None]) -> Iterator[Trained]:
    """The same for updates that are added up elsewhere: the last one brings their sums, once all are there."""
    last: Trained | None = None
    for trained in parts:
        if last is not None:
            yield last
        last = replace(trained, in_sums=True)
    if last is not None:
        yield replace(last, sums=sums())


def kept(trained: Trained) -> Trained:
    """The same with tensors of its own, which no later pack overwrites."""
    memory = {name: value.clone() for name, value in trained.memory.items()}
    return replace(trained, update=copied(trained.update), memory=memory)


def copied(update: Update) -> Update:
    """The same update with tensors of its own, which the next pack does not overwrite."""
    tensors = {name: value.clone() for name, value in update.tensors.items()}
    return replace(update, tensors=tensors, extras={name: value.clone() for name, value in update.extras.items()})


def finished(
    method: Method,
    pack: Pack,
    result: PackResult,
    lr: float,
    weights: Mapping[int, float],
    fetch: Fetch,
    labels: Tensor,
    seed: int,
) -> Iterator[Trained]:
    """What the clients of a pack make of their lanes, one task after another.

    Args:
        result: the trained lanes, on the CPU; without tensors where they are added up on a GPU.
        lr: learning rate of the round.
        weights: number of training samples by client.
        fetch: gives a planned task what its client downloaded, and what the client remembered before.
        labels: of the training set.
        seed: of the federation.
    """
    data_s = result.data_s
    for lanes, planned in pack.tasks():
        task, memory = fetch(planned)
        first = pack.lanes[lanes.start]
        trained = {name: value[lanes] for name, value in result.tensors.items()}
        tensors = claimed(method, task, memory, trained, seed)
        counts = claimed_counts(method, first, labels, seed).cpu() if method.uses_classes else torch.empty(0)
        made = method.finish(task, memory, tensors, LocalTraining(lr, len(first.batches), counts))
        measurements = {
            "loss": result.losses[lanes] / first.samples,
            "accuracy": result.correct[lanes] / first.samples,
        }
        update = Update(task.planned(), weights[task.client], made.tensors, made.extras, measurements)
        yield Trained(update, made.memory, data_s)
        data_s = 0.0


def claimed(method: Method, task: ClientTask, memory: Tensors, trained: Tensors, seed: int) -> Tensors:
    """The trained lanes `[lanes, ...]` as their client claims that they are: the parameters of lanes that it poisons.

    Running statistics, and what stays with the client, are as they are. What else the method uploads follows from them.
    """
    malicious = method.problem.malicious
    lies = [lane for lane, base in enumerate(task.base_models) if method.problem.lies(task.client, base, seed)]
    if not lies or not malicious.changes_upload:
        return trained
    start = method.start(task, memory)
    tensors = dict(trained)
    for name in sorted(parameter_entries(task.spec) - memory.keys()):
        tensors[name] = trained[name].clone()
        for lane in lies:
            # Of every entry and lane its own, so that no number depends on which lanes were trained together.
            stream = torch_rng(seed, "claimed", task.round, task.client, task.base_models[lane], name)
            tensors[name][lane] = malicious.claimed(trained[name][lane], start[name][lane], stream)
    return tensors
