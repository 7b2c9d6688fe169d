"""Split-Mix: sampling, mixing, merging, and what it is equivalent to."""

import copy
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from splitmix.algorithms.base import Problem
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import ClientTask, ServerState, Update
from splitmix.engine.optimizers import SGD
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.models.digit_cnn import DigitCNN

SHAPE = (3, 8, 8)


def method(budgets=(0.125, 0.25, 0.5, 1.0), **settings):
    return SplitMix(**settings).bind(DigitCNN(), Problem(SHAPE, 10, tuple(budgets)))


@given(seed=st.integers(0, 1000), round_index=st.integers(0, 50))
def test_every_client_draws_distinct_base_models_up_to_its_budget(seed, round_index):
    m = method()
    for client, budget in enumerate(m.problem.budgets):
        rows = m.draw(round_index, round_index * 4 + client, client, seed)
        assert len(set(rows)) == len(rows) == round(budget / 0.125)
        assert set(rows) <= set(range(8))


@given(seed=st.integers(0, 1000), clients=st.integers(1, 40))
def test_the_round_robin_serves_all_base_models_equally_often(seed, clients):
    m = method([0.125] * clients + [1.0])
    served = Counter(m.draw(0, slot, 0, seed)[0] for slot in range(clients))
    assert max(served.values()) - min(served[base] for base in range(8)) <= 1


def test_the_other_base_models_are_drawn_uniformly():
    m = method([0.25, 1.0])
    counts = Counter(row for slot in range(4000) for row in m.draw(slot, slot, 0, 3))
    # 8000 draws over 8 base models: 1000 each, standard deviation of the random half about 21.
    assert all(abs(counts[base] - 1000) < 110 for base in range(8))


def test_averaging_is_weighted_per_row_and_keeps_what_nobody_trained():
    server = {"w": torch.tensor([[1.0], [2.0], [3.0]])}
    spec = method().spec
    updates = [
        Update(ClientTask(0, 0, spec, (0, 1)), 3.0, {"w": torch.tensor([[10.0], [20.0]])}),
        Update(ClientTask(0, 1, spec, (1,)), 1.0, {"w": torch.tensor([[40.0]])}),
    ]
    # Row 1: (3 * 20 + 1 * 40) / 4 = 25.
    merged = method().merge(ServerState(0, server), iter(updates))
    assert merged.tensors["w"].tolist() == [[10.0], [25.0], [3.0]] and merged.round == 1


def test_batch_counters_come_from_the_last_client_and_are_zero_where_nobody_trained():
    server = {"w": torch.zeros(2, 1), "bn.num_batches_tracked": torch.tensor([7, 7])}
    spec = method().spec
    updates = [
        Update(ClientTask(0, c, spec, (0,)), 1.0, {"w": torch.ones(1, 1), "bn.num_batches_tracked": torch.tensor([n])})
        for c, n in enumerate([9, 11])
    ]
    for order in (updates, updates[::-1]):
        merged = method().merge(ServerState(0, server), order).tensors
        assert merged["bn.num_batches_tracked"].tolist() == [11, 0]


def test_one_full_width_base_model_is_plain_federated_averaging(federation):
    """Against FedAvg written out with an ordinary network, SGD and a loop."""
    fed = federation(SplitMix(atom_width=1.0), budget=Groups("1"), optimizer=SGD(lr=0.01))
    state = fed.initial_state()
    plain = Plain()
    plain.load_state_dict({name: value[0] for name, value in state.tensors.items()})
    total: dict[str, torch.Tensor] = {}
    n_all = sum(len(client.train) for client in fed.clients)
    for number, client in enumerate(fed.clients):
        local = copy.deepcopy(plain)
        optimizer = torch.optim.SGD(local.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        for rows in fed.batches(number, 0):
            optimizer.zero_grad()
            images = fed.dataset.train.images[rows].float() / 255
            nn.functional.cross_entropy(local(images), fed.dataset.train.labels[rows]).backward()
            optimizer.step()
        for name, value in local.state_dict().items():
            total[name] = total.get(name, 0) + value * len(client.train) / n_all
    merged = fed.run_round(state)[0].tensors
    for name, value in total.items():
        torch.testing.assert_close(merged[name][0], value, rtol=1e-4, atol=5e-5)
        if name.endswith("weight"):
            assert not torch.allclose(merged[name][0], state.tensors[name][0], rtol=1e-4, atol=1e-5)


class Plain(nn.Module):
    """The digit CNN at width 1 on 8x8 images, in ordinary PyTorch."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(i, o, 5, padding=2) for i, o in [(3, 64), (64, 64), (64, 128)])
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(c, track_running_stats=False) for c in (64, 64, 128))
        self.fc1, self.fc2, self.fc3 = nn.Linear(512, 2048), nn.Linear(2048, 512), nn.Linear(512, 10)
        self.bn4, self.bn5 = (nn.BatchNorm1d(c, track_running_stats=False) for c in (2048, 512))

    def forward(self, x):
        pool, relu = nn.functional.max_pool2d, torch.relu
        x = pool(relu(self.bn1(self.conv1(x))), 2)
        x = pool(relu(self.bn2(self.conv2(x))), 2)
        x = relu(self.bn3(self.conv3(x))).flatten(1)
        return self.fc3(relu(self.bn5(self.fc2(relu(self.bn4(self.fc1(x)))))))


def test_mixes_take_the_nearest_whole_number_of_base_models():
    assert method().mix_size(0.375 + 1e-8) == 3
    assert method([0.25, 0.5]).widths == (0.125, 0.25, 0.375, 0.5)


@pytest.mark.parametrize(
    ("budgets", "settings", "width", "message"),
    [
        ((1.0,), {}, 0.3, "multiple of algorithm.atom_width"),
        ((0.5,), {}, 1.0, "largest budget"),
        ((1.0,), {}, 0.0, "multiple"),
    ],
)
def test_widths_that_cannot_be_given_are_refused(budgets, settings, width, message):
    with pytest.raises(UserError, match=message):
        method(budgets, **settings).mix_size(width)


@pytest.mark.parametrize(
    ("budgets", "settings", "message"),
    [
        ((0.0625, 1.0), {}, "0.0625, below algorithm.atom_width=0.125"),
        ((1.0,), {"atom_width": 0.0}, "algorithm.atom_width=0"),
        ((1.0,), {"loss_temperature": "hot"}, "loss_temperature=hot"),
        ((1.0,), {"loss_temperature": -1.0}, "loss_temperature=-1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(budgets, settings, message):
    with pytest.raises(UserError, match=message):
        method(budgets, **settings)


def test_tenths_are_widths_without_rounding_errors():
    """3 * 0.1 is 0.30000000000000004, and 0.3 / 0.1 is 2.9999999999999996."""
    tenths = method((0.1, 0.3, 1.0), atom_width=0.1)
    assert tenths.widths == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert [tenths.count(width) for width in tenths.widths] == list(range(1, 11))
    assert tenths.mix_size(0.1 * 3) == tenths.mix_size(0.3) == 3
    assert len(tenths.draw(0, 0, 1, 0)) == 3
