"""Private rounds: what one client can change, fixed denominators, noise, who takes part, what is refused."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from splitmix.algorithms.aggregation import Median
from splitmix.algorithms.averaging import TENSOR
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.server_optimizers import ServerMomentum
from splitmix.algorithms.splitmix import SplitMix
from splitmix.algorithms.values import Update
from splitmix.engine.finishing import Trained
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.sampling import independent_participants
from splitmix.fleet import Fleet, FleetClient
from splitmix.models.digit_cnn import DigitCNN
from splitmix.privacy.mechanism import norm_of
from splitmix.privacy.settings import DPFedAvg

SILENT = DPFedAvg(clip_norm=None, noise_multiplier=0)
needs_package = pytest.mark.skipif(find_spec("dp_accounting") is None, reason="needs splitmix[privacy]")


def updates(fed, state, clients, seed=0, size=1.0):
    """Random updates of these clients, at lanes planned for everyone."""
    generator = torch.Generator().manual_seed(seed)
    for task in fed.method.plan(state, range(len(fed.clients)), fed.seed):
        start = {name: value[list(task.base_models)] for name, value in state.tensors.items()}
        moved = {name: v + size * torch.randn(v.shape, generator=generator) for name, v in start.items()}
        if task.client in clients:
            losses = torch.zeros(len(task.base_models))
            yield Trained(Update(task, 10.0 + task.client, moved, measurements={"loss": losses}), {}, 0.0)


def merge_of(fed, state):
    return fed.merging.begin(fed.method, state, fed.method.plan(state, range(len(fed.clients)), fed.seed))


def in_parts(trained):
    """The same update, a lane at a time, the last first, as packs may bring it."""
    update = trained.update
    for lane in reversed(range(len(update.task.base_models))):
        part = replace(
            update,
            task=update.task.select([lane]),
            tensors={name: value[[lane]] for name, value in update.tensors.items()},
            measurements={name: value[[lane]] for name, value in update.measurements.items()},
        )
        yield replace(trained, update=part)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "lane by lane"])
def test_another_update_of_one_client_moves_the_sum_by_twice_the_clipping_norm_at_most(federation, whole):
    fed = federation(privacy=DPFedAvg(clip_norm=0.5, noise_multiplier=0))
    state = fed.initial_state()

    def sums(*sizes):
        merge = merge_of(fed, state)
        for client, size in enumerate(sizes):
            [trained] = updates(fed, state, [client], seed=client, size=size)
            for part in [trained] if whole else in_parts(trained):
                merge.add(part)
        return {name: value for name, value in merge.aggregate.sums.items() if name.startswith(TENSOR)}

    def moved(one, other):
        return norm_of({name: value - other[name] for name, value in one.items()})

    # The last client trains all eight base models.
    base = sums(1.0, 1e-4, 1.0, 1.0)
    assert moved(sums(1.0, 1e-4, 1.0, -1.0), base) == pytest.approx(1.0, rel=1e-4)
    assert moved(sums(1.0, 1e-4, 1.0, 1e3), base) == pytest.approx(0.0, abs=1e-4)
    assert moved(sums(1.0, 1e-4, 1.0), base) == pytest.approx(0.5, rel=1e-4)
    # A small change is left as it is.
    small = norm_of(sums(0.0, 1e-6))
    [trained] = updates(fed, state, [1], seed=1, size=1e-6)
    lanes = list(trained.update.task.base_models)
    changes = {name: value - state.tensors[name][lanes] for name, value in trained.update.tensors.items()}
    assert small == pytest.approx(norm_of(changes), rel=1e-4) and small < 0.5


@pytest.mark.parametrize("algorithm", [SplitMix(), FedAvg(0.25)], ids=["splitmix", "fedavg"])
def test_without_clipping_and_noise_it_is_fedavg_with_fixed_denominators(federation, algorithm):
    fed = federation(algorithm, privacy=SILENT, clients_per_round=2)
    state = fed.initial_state()
    merge = merge_of(fed, state)
    planned = torch.zeros(fed.method.base_models)
    for task in fed.method.plan(state, range(4), fed.seed):
        planned[list(task.base_models)] += 1
    came = list(updates(fed, state, [0, 3]))
    for trained in came:
        merge.add(trained)
    after = merge.finished()
    assert after.round == 1
    for name, server in state.tensors.items():
        expected = server.clone()
        for update in (trained.update for trained in came):
            for lane, base_model in enumerate(update.task.base_models):
                # Two of four clients are drawn: half of those planned are expected, whoever comes.
                change = update.tensors[name][lane] - server[base_model]
                expected[base_model] += change / (0.5 * planned[base_model])
        torch.testing.assert_close(after.tensors[name], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bn", ["batch", pytest.param("local", marks=pytest.mark.slow)])
def test_a_round_of_all_clients_without_clipping_and_noise_is_one_of_equal_weights(federation, bn):
    """The federation's clients of a domain have equally many images; without the other domain all weigh alike."""
    plain, private = (federation(SplitMix(), DigitCNN(bn=bn), privacy=privacy) for privacy in (None, SILENT))
    state = plain.initial_state()
    for fed in (plain, private):
        fed.clients = [replace(fed.clients[0], id=client.id) for client in fed.clients]
    expected, before = plain.run_round(state)
    found, metrics = private.run_round(state)
    assert metrics.loss == before.loss and "epsilon" not in metrics.columns({})
    for tensors, others in ((found.tensors, expected.tensors), (found.clients, expected.clients)):
        assert tensors.keys() == others.keys()
        for name, value in tensors.items():
            torch.testing.assert_close(value, others[name], rtol=1e-6, atol=1e-6)


def test_noise_is_on_every_base_model_that_was_planned_whoever_came(federation):
    private = DPFedAvg(clip_norm=2.0, noise_multiplier=3.0)
    fed = federation(privacy=private, clients_per_round=1)
    state = fed.initial_state()
    merge = merge_of(fed, state)
    after = merge.finished()  # nobody came
    share = merge.denominators
    assert torch.equal(share * 4, (share * 4).round()) and (share > 0).all()
    for base_model in range(fed.method.base_models):
        noise = torch.cat([(after.tensors[n] - state.tensors[n])[base_model].flatten() for n in state.tensors])
        assert float(noise.std() * share[base_model]) == pytest.approx(6.0, rel=0.05)
        assert abs(float(noise.mean() * share[base_model])) < 0.2
    again, later = merge_of(fed, state).finished(), merge_of(fed, replace(state, round=1)).finished()
    assert torch.equal(again.tensors["fc3.weight"], after.tensors["fc3.weight"])
    assert not torch.equal(later.tensors["fc3.weight"], after.tensors["fc3.weight"])


def test_what_a_client_trains_does_not_depend_on_who_else_takes_part(federation):
    """Otherwise one client's presence would change the others' summands."""
    fed = federation(privacy=SILENT, clients_per_round=2)
    state = fed.initial_state()
    assert list(fed.merging.planned_for([1, 3])) == [0, 1, 2, 3]
    assert list(federation(clients_per_round=2).merging.planned_for([1, 3])) == [1, 3]
    tasks = {task.client: task.base_models for task in fed.method.plan(state, range(4), fed.seed)}
    asked = []
    train = fed.engine.train
    fed.engine.train = lambda state, tasks, *others, **more: asked.extend(tasks) or train(state, tasks, *others, **more)
    fed.run_round(state)
    assert [task.client for task in asked] == fed.merging.participants(0) and len(asked) == 2
    assert all(tasks[task.client] == task.base_models for task in asked)


def test_clients_drawn_by_themselves_are_so_many_on_average_and_may_be_none(federation):
    counts = [len(independent_participants(1, number, 50, 10)) for number in range(400)]
    assert sum(counts) / 400 == pytest.approx(10, abs=0.5) and 6 < torch.tensor(counts).float().var() < 10
    assert independent_participants(1, 0, 4, 4) == [0, 1, 2, 3]
    private = replace(SILENT, participation="poisson")
    fed = federation(privacy=private, clients_per_round=1)
    lonely = next(number for number in range(100) if not fed.merging.participants(number))
    state = replace(fed.initial_state(), round=lonely)
    after, metrics = fed.run_round(state)
    assert "train_loss" not in metrics.columns({}) and metrics.bytes_up == 0 and after.round == lonely + 1
    for name, value in after.tensors.items():
        torch.testing.assert_close(value, state.tensors[name], rtol=1e-6, atol=1e-7)


@needs_package
def test_the_epsilon_of_all_rounds_so_far_is_among_a_rounds_metrics(federation):
    fed = federation(FedAvg(0.125), privacy=DPFedAvg(target_epsilon=20.0, clip_norm=0.1))
    state, told = fed.initial_state(), []
    for _ in range(3):
        state, metrics = fed.run_round(state)
        told.append(metrics.columns({})["epsilon"])
    assert told == sorted(set(told)) and told[-1] == pytest.approx(20.0, abs=0.02) and told[-1] <= 20.0
    found = fed.merging.guarantee(3)
    assert (found.relation, found.accountant, found.epsilon) == ("replace-one", "RDP", told[-1])


def test_a_server_optimizer_steps_towards_the_noisy_average(federation):
    private = DPFedAvg(noise_multiplier=1.0)
    plain, momentum = (federation(privacy=private, server_optimizer=s) for s in (None, ServerMomentum(lr=0.5)))
    state = momentum.initial_state()
    average, after = (merge_of(fed, state).finished().tensors for fed in (plain, momentum))
    for name, value in state.tensors.items():
        torch.testing.assert_close(after[name] - value, 0.5 * (average[name] - value), rtol=1e-4, atol=1e-5)


FLEET = Fleet(tuple(FleetClient(f"d{n}", "x", 0.125, (1.0,)) for n in range(4)))


@pytest.mark.parametrize(
    ("components", "settings", "told"),
    [
        ((Scaffold(0.125),), {}, "algorithm=scaffold uploads or merges other than base models of one width"),
        ((HeteroFL(),), {}, "algorithm=heterofl uploads or merges"),
        ((), {"aggregation": Median()}, "aggregation=median is no sum that noise could hide"),
        ((SplitMix(), DigitCNN(bn="tracked")), {}, "model.bn=tracked uploads running statistics"),
        ((), {"budget": FLEET}, "leave the key fleet out"),
        ((), {"engine": EngineSettings(devices=2, workers=1, lanes=1, threads=1)}, "use engine.devices=1"),
    ],
)
def test_what_would_break_the_guarantee_is_refused_by_name(federation, components, settings, told):
    with pytest.raises(UserError, match="privacy=dp_fedavg: ") as caught:
        federation(*components, privacy=SILENT, **settings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"noise_multiplier": None}, "privacy.target_epsilon=null: give one of them"),
        ({"target_epsilon": 3.0}, "privacy.noise_multiplier=1 privacy.target_epsilon=3: give one of them"),
        ({"noise_multiplier": -1.0}, "privacy.noise_multiplier=-1"),
        ({"noise_multiplier": None, "target_epsilon": 0.0}, "privacy.target_epsilon=0"),
        ({"clip_norm": None}, "privacy.clip_norm=null: noise hides only what is bounded"),
        ({"clip_norm": 0.0}, "privacy.clip_norm=0"),
        ({"delta": 1.0}, "privacy.delta=1"),
        ({"participation": "all"}, "privacy.participation=all: choose fixed or poisson"),
    ],
)
def test_values_out_of_range(changes, told):
    with pytest.raises(UserError) as caught:
        DPFedAvg(**{"noise_multiplier": 1.0, **changes}).check()
    assert told in str(caught.value)
