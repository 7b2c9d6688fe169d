"""Robust rules against plain versions, on random updates with ties; base model by base model; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitmix.algorithms.aggregation import Bulyan, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean
from splitmix.algorithms.algorithm import check_aggregation
from splitmix.algorithms.base import Problem
from splitmix.algorithms.clustering import ClippedClustering
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.principal_direction import PrincipalDirection
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import Update
from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN


def plain_krum_scores(x, f):
    result = []
    for i in range(len(x)):
        distances = sorted(float(((x[i] - x[j]) ** 2).sum()) for j in range(len(x)) if j != i)
        result.append(sum(distances[: max(1, len(x) - f - 2)]))
    return result


def plain_bulyan(x, f):
    left, chosen = list(range(len(x))), []
    while len(chosen) < len(x) - 2 * f:
        scores = plain_krum_scores(x[left], f)
        chosen.append(left.pop(scores.index(min(scores))))
    picked = np.sort(x[sorted(chosen)], axis=0)
    result = np.empty(x.shape[1])
    for p in range(x.shape[1]):
        by_distance = sorted(picked[:, p], key=lambda value: abs(value - np.median(picked[:, p])))
        result[p] = np.mean(by_distance[: len(chosen) - 2 * f])
    return result


def plain_trimmed(x, share):
    cut = int(np.ceil(share * len(x)))
    return np.array([np.mean(sorted(column)[cut : len(x) - cut]) for column in x.T])


def plain_clip(x, weights, server, norm):
    total = np.zeros_like(server)
    for row, weight in zip(x, weights, strict=True):
        change = row - server
        total += weight * change * min(1.0, norm / max(np.linalg.norm(change), 1e-300))
    return server + total / weights.sum()


def plain_multi_krum(x, f, keep):
    scores = plain_krum_scores(x, f)
    return np.mean([x[i] for i in sorted(range(len(x)), key=lambda i: scores[i])[:keep]], axis=0)


def plain_clustering(x, server):
    changes = x - server
    norms = [np.linalg.norm(change) for change in changes]
    units = [change / max(norm, 1e-300) for change, norm in zip(changes, norms, strict=True)]
    groups = [[i] for i in range(len(x))]
    while len(groups) > 2:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))]
        near = [round(np.mean([1 - units[a] @ units[b] for a in groups[i] for b in groups[j]]), 9) for i, j in pairs]
        i, j = pairs[near.index(min(near))]
        groups[i] += groups.pop(j)
    best = groups[0] if len(groups[0]) >= len(groups[1]) else groups[1]
    cut = np.median(norms)
    return server + np.mean([changes[i] * min(1.0, cut / max(norms[i], 1e-300)) for i in best], axis=0)


def plain_principal(x, server, last):
    changes = x - server
    norms = [max(np.linalg.norm(change), 1e-300) for change in changes]
    units = [change[last] / max(np.linalg.norm(change[last]), 1e-300) for change in changes]
    values, vectors = np.linalg.eigh(np.transpose(units) @ units)
    first = vectors[:, values > values.max() - 1e-6]  # of equal ones, that which is nearest to all clients' sum
    direction = first @ first.T @ np.sum(units, axis=0)
    direction = direction / max(np.linalg.norm(direction), 1e-300)
    cosines = [unit @ direction for unit in units]
    kept = [i for i, cosine in enumerate(cosines) if cosine >= 0.1]
    return server + np.mean([changes[i] * min(1.0, np.median(norms) / norms[i]) for i in kept], axis=0)


LAST = np.array([False, True, False, True, True])
"""Which entries of the random updates count as the last layer."""
RULES = {
    "mean": (Mean(), lambda x, w, s: (w[:, None] * x).sum(0) / w.sum()),
    "median": (Median(), lambda x, w, s: np.median(x, axis=0)),
    "trimmed_mean": (TrimmedMean(0.2), lambda x, w, s: plain_trimmed(x, 0.2)),
    "krum": (Krum(2), lambda x, w, s: x[np.argmin(plain_krum_scores(x, 2))]),
    "multi_krum": (MultiKrum(2), lambda x, w, s: plain_multi_krum(x, 2, len(x) - 4)),
    "multi_krum of 3": (MultiKrum(1, 3), lambda x, w, s: plain_multi_krum(x, 1, 3)),
    "bulyan": (Bulyan(1), lambda x, w, s: plain_bulyan(x, 1)),
    "norm_clip": (NormClip(2.0), lambda x, w, s: plain_clip(x, w, s, 2.0)),
    "clustering": (ClippedClustering(), lambda x, w, s: plain_clustering(x, s)),
    "principal_direction": (PrincipalDirection(0.1), lambda x, w, s: plain_principal(x, s, LAST)),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_their_plain_versions(name):
    rule, plain = RULES[name]
    rule.check()
    generator = np.random.default_rng(0)
    for clients in (7, 8, 11):
        for _ in range(20):
            # Small whole numbers: many ties among entries, and pairs of equal updates.
            updates = generator.integers(-2, 3, (clients, 5)).astype(float)
            updates[-1] = updates[0]
            weights, server = (
                generator.integers(1, 9, clients).astype(float),
                generator.integers(-1, 2, 5).astype(float),
            )
            given = (torch.tensor(value) for value in (updates, weights, server, LAST))
            ours = rule.merge(*given).numpy()
            assert ours == pytest.approx(plain(updates, weights, server), abs=1e-12)


def method_of(rule, algorithm=None, clients=7):
    problem = Problem((1, 4, 4), 10, (0.25,) * clients, aggregation=rule)
    return (algorithm or SplitMix(atom_width=0.125)).bind(DigitCNN(), problem)


def updates_of(method, state, participants, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for task in method.plan(state, participants, 1):
        start = {name: value[list(task.base_models)] for name, value in state.tensors.items()}
        moved = {name: value + torch.randn(value.shape, generator=generator) for name, value in start.items()}
        yield Update(task, 10.0 + task.client, moved)


def test_every_base_model_is_merged_by_itself():
    method = method_of(Median())
    state = method.initial_state(0)
    updates = list(updates_of(method, state, range(7)))
    after = method.merge(state, updates)
    assert after.round == 1
    for name in ("conv1.weight", "fc3.bias"):
        for base_model in range(method.base_models):
            rows = [u.tensors[name][u.task.base_models.index(base_model)] for u in updates]
            torch.testing.assert_close(after.tensors[name][base_model], torch.stack(rows).median(0).values)


def test_what_one_liar_does():
    """The mean follows a client whose update is huge, a median does not."""
    state = method_of(Mean()).initial_state(0)
    distance = {}
    for rule in (Mean(), Median(), Krum(1), NormClip(1.0)):
        method = method_of(rule, clients=8)
        updates = list(updates_of(method, state, range(8)))
        for value in updates[0].tensors.values():
            value += 1e4
        after = method.merge(state, updates)
        distance[rule.name] = float((after.tensors["fc3.bias"] - state.tensors["fc3.bias"]).abs().max())
    assert distance["mean"] > 100
    assert max(distance["median"], distance["krum"], distance["norm_clip"]) < 5


def test_principal_direction_leaves_out_clients_whose_last_layers_move_against_most():
    """Liars' hidden layers move like those of the honest, and their last layer the other way."""
    generator = torch.Generator().manual_seed(0)
    server, honest = torch.randn(2, 200, generator=generator)
    noise = torch.randn(20, 200, generator=generator)
    last = torch.arange(200) >= 150
    changes = noise + honest
    changes[12:, 150:] -= 1.5 * honest[150:]
    merged = PrincipalDirection().merge(server + changes, torch.ones(20), server, last) - server
    assert torch.nn.functional.cosine_similarity(merged, changes[:12].mean(0), dim=0) > 0.99
    # Nothing that a single client sends moves it further than the others, and nobody's change at all moves nothing.
    changes[0] *= 1e6
    assert (PrincipalDirection().merge(server + changes, torch.ones(20), server, last) - server).norm() < 20
    still = PrincipalDirection().merge(server.expand(20, -1), torch.ones(20), server, last)
    assert torch.equal(still, server)


def test_the_last_layer_of_a_network_is_told_to_the_rule():
    class Watching(Median):
        def merge(self, updates, weights, server, classifier):
            seen.append(classifier)
            return super().merge(updates, weights, server, classifier)

    seen = []
    method = method_of(Watching())
    state = method.initial_state(0)
    method.merge(state, updates_of(method, state, range(7)))
    last = sum(state.tensors[name][0].numel() for name in ("fc3.weight", "fc3.bias"))
    assert {int(classifier.sum()) for classifier in seen} == {last} and len(seen) == method.base_models


def test_clustering_leaves_out_clients_who_agree_with_each_other_alone():
    """Half of the honest clients' change is the direction they share; liars share another one, at the same length."""
    generator = torch.Generator().manual_seed(0)
    server, honest, lie = torch.randn(3, 200, generator=generator)
    updates = server + torch.randn(20, 200, generator=generator) + honest
    updates[12:] += lie - honest
    whole = torch.ones(200, dtype=torch.bool)
    merged = ClippedClustering().merge(updates, torch.ones(20), server, whole) - server
    honest_alone = (updates[:12] - server).mean(0)
    assert torch.nn.functional.cosine_similarity(merged, honest_alone, dim=0) > 0.99
    # A client whose change is huge, or who sends nothing new, moves it no further than the others.
    updates[0], updates[1] = server + 1e6 * (updates[0] - server), server
    again = ClippedClustering().merge(updates, torch.ones(20), server, whole) - server
    assert again.norm() < 2 * merged.norm()


def test_too_few_clients_and_other_methods_are_refused_by_name():
    method = method_of(Krum(3))
    state = method.initial_state(0)
    with pytest.raises(UserError, match=r"aggregation=krum: 7 clients trained base model 0 in round 0.*needs 9"):
        method.merge(state, updates_of(method, state, range(7)))
    with pytest.raises(UserError, match=r"aggregation=median: algorithm=heterofl"):
        check_aggregation(method_of(Median(), HeteroFL()))
    check_aggregation(method_of(Median(), FedAvg()))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TrimmedMean(0.5), "trim=0.5"),
        (Krum(0), "attackers=0"),
        (MultiKrum(1, 0), "keep=0"),
        (NormClip(0.0), "norm=0"),
    ],
)
def test_values_out_of_range(rule, message):
    with pytest.raises(UserError, match=f"aggregation.{message}"):
        rule.check()
