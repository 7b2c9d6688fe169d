"""Rounds: engine paths agree, randomness is a function of the seed, resuming changes nothing, NaN is named."""

import pytest
import torch
from torch.utils.data import DataLoader

from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import to_float
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.sampling import participants
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import FGSM
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def rounds(fed, count, state=None):
    state = state or fed.initial_state()
    for _ in range(count):
        state, _ = fed.run_round(state)
    return state


@pytest.mark.parametrize("bn", ["batch", "tracked"])
@pytest.mark.parametrize("temperature", [None, pytest.param("auto", marks=pytest.mark.slow)])
def test_lanes_together_equal_one_lane_at_a_time(federation, bn, temperature):
    states = []
    for lanes in (1, 3, 8):
        engine = EngineSettings(lanes=lanes, threads=1)
        fed = federation(SplitMix(loss_temperature=temperature), DigitCNN(bn=bn), engine=engine)
        states.append(rounds(fed, 1))
    for other in states[1:]:
        for name, value in states[0].tensors.items():
            torch.testing.assert_close(other.tensors[name], value, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(federation):
    one, two, other = (rounds(federation(seed=seed), 2).tensors for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["fc3.weight"], other["fc3.weight"])


def test_interrupted_and_resumed_equals_straight_through(federation, tmp_path):
    straight = rounds(federation(clients_per_round=2), 3)
    first = federation(clients_per_round=2)
    save_checkpoint(tmp_path / "last.ckpt", Checkpoint(rounds(first, 1), 0, 0.5, 1.0))
    second = federation(clients_per_round=2)
    loaded = load_checkpoint(tmp_path / "last.ckpt", second.method)
    assert (loaded.best_round, loaded.best_value, loaded.state.round) == (0, 0.5, 1)
    resumed = rounds(second, 2, loaded.state)
    assert all(torch.equal(resumed.tensors[name], value) for name, value in straight.tensors.items())


def test_a_loss_that_is_not_a_number_names_round_client_and_base_model(federation):
    fed = federation()
    state = fed.initial_state()
    state.tensors["fc3.bias"][5] = float("nan")
    with pytest.raises(UserError, match=r"round 1, client \d-\d, base model 5"):
        rounds(fed, 1, state)


@pytest.mark.slow
def test_adam_steps_like_a_plain_loop_with_torchs_adam(federation):
    """One client's round against torch.optim.Adam on the same batches, without weight decay (in float64)."""
    engine = EngineSettings(workers=1, lanes=1, threads=1, precision="64-true")
    settings = {"budget": Groups("1"), "clients_per_domain": 1, "engine": engine}
    fed = federation(SplitMix(atom_width=1.0), optimizer=Adam(lr=0.002), **settings)
    state = fed.initial_state()
    task, batches = fed.method.plan(state, [0], 1)[0], fed.batches(0, 0)
    [trained] = fed.engine.train(state, [task], [batches], [1.0], 0.002)
    network = task.spec.build(1).double()
    network.load_lanes(state.tensors)
    adam = torch.optim.Adam(network.parameters(), 0.002, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for rows in batches:
        adam.zero_grad()
        logits = network(to_float(fed.dataset.train.images[rows], torch.float64))[0]
        torch.nn.functional.cross_entropy(logits, fed.dataset.train.labels[rows]).backward()
        adam.step()
    for name, value in network.lane_tensors().items():
        torch.testing.assert_close(trained.update.tensors[name].double(), value, rtol=1e-6, atol=1e-7)
    moved = trained.update.tensors["fc3.weight"] - state.tensors["fc3.weight"]
    assert float(moved.abs().max()) > 0.002


def test_bytes_count_what_participants_carry(federation):
    """Split-Mix: eight base models per unit of budget, four bytes a value, of those who took part alone."""
    fed = federation(clients_per_round=2)
    state = fed.initial_state()
    # Base model of width 1/8 on 3x8x8 images: 5x5 convolutions to 8, 8, 16 channels, 2x2 images left; 256, 64 units.
    # Each layer has weights, a bias, and batch normalisation's two affine values per channel.
    sizes = [(3 * 25, 8), (8 * 25, 8), (8 * 25, 16), (16 * 2 * 2, 256), (256, 64)]
    entries = sum((inputs + 3) * outputs for inputs, outputs in sizes) + (64 + 1) * 10
    budgets = [0.125, 0.25, 0.5, 1.0]
    carried = []
    for number in range(3):
        state, metrics = fed.run_round(state)
        expected = sum(4 * entries * int(8 * budgets[client]) for client in participants(1, number, 4, 2))
        assert metrics.bytes_up == metrics.bytes_down == expected
        carried.append(expected)
    assert len(set(carried)) > 1


@pytest.mark.parametrize("per_round", [0, 5])
def test_more_participants_than_clients_are_refused(federation, per_round):
    with pytest.raises(UserError, match=f"clients_per_round={per_round}: the federation has 4 clients"):
        federation(clients_per_round=per_round)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_stock_trainer_trains_a_client_like_the_federation_does(federation, tmp_path):
    """Both step through the same batches of one client, from the same weights (in float64, where no ReLU flips)."""
    from pytorch_lightning import Trainer

    from splitmix.federation.client import ClientModule

    engine = EngineSettings(workers=1, lanes=1, threads=1, precision="64-true")
    fed = federation(SplitMix(atom_width=1.0), budget=Groups("1"), clients_per_domain=1, engine=engine)
    state = fed.initial_state()
    work = fed.method.plan(state, [0], 1)[0]
    batches = fed.batches(0, 0)
    [trained] = fed.engine.train(state, [work], [batches], [1.0], 0.1)
    network = work.spec.build(1).double()
    network.load_lanes(state.tensors)
    module = ClientModule(fed.method, network, SGD(lr=0.1))
    pairs = [
        (to_float(fed.dataset.train.images[rows], torch.float64), fed.dataset.train.labels[rows]) for rows in batches
    ]
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(pairs, batch_size=None))
    for name, value in network.lane_tensors().items():
        torch.testing.assert_close(value.float(), trained.update.tensors[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # Lightning takes seconds to import
def test_switches_of_the_client_module(federation):
    from splitmix.federation.client import ClientModule

    fed = federation()
    network = fed.method.spec.build(8)
    network.load_lanes(fed.initial_state().tensors)
    module = ClientModule(fed.method, network, SGD()).eval()
    images = torch.rand(4, 3, 8, 8)
    module.set_width(0.25)
    torch.testing.assert_close(module(images), network(images)[:2].mean(0))
    module.set_adv_lambda(0.0)
    for wrong in (0.5, 2.0):
        with pytest.raises(UserError, match="adv_lambda"):
            module.set_adv_lambda(wrong)
    with pytest.raises(UserError, match="multiple"):
        module.set_width(0.3)


def test_a_width_given_twice_or_with_a_rounding_error_is_one_column(federation):
    fed = federation(SplitMix(atom_width=0.1), budget=Groups("1"))
    state = fed.initial_state()
    once = fed.test(state, [0.3, 0.2])
    for widths in ([0.3, 0.2, 0.3], [0.1 * 3, 0.2, 0.1 + 0.2]):
        again = fed.test(state, widths)
        assert again.widths == (0.3, 0.2) and torch.equal(again.per_client, once.per_client)
    assert list(fed.validate(state, [0.1 * 3, 0.3]).mean()) == [0.3]
    attacked = fed.test(state, [0.1 * 3, 0.3], attack=FGSM(), max_images=8)
    assert list(attacked.mean()) == [0.3]


@pytest.mark.parametrize("bn", ["batch", "local"])
def test_validating_some_clients_gives_the_values_of_those_clients(federation, bn):
    fed, few = federation(model=DigitCNN(bn=bn)), federation(model=DigitCNN(bn=bn), validate_clients=2)
    state, _ = fed.run_round(fed.initial_state())
    assert len(few.validated) == 2 and few.validated == sorted(few.validated)
    assert torch.equal(few.validate(state, [0.25]).per_client, fed.validate(state, [0.25]).per_client[few.validated])
    assert few.validate_robust(state, [0.25], 8).n_images == 8


@pytest.mark.parametrize("bn", ["batch", "tracked"])
def test_testing_on_validation_images_is_validation(federation, bn):
    fed = federation(model=DigitCNN(bn=bn))
    state, _ = fed.run_round(fed.initial_state())
    for attack, validated in (
        (None, fed.validate(state, [0.25])),
        (FGSM(eps=2), fed.validate_robust(state, [0.25], attack=FGSM(eps=2))),
    ):
        tested = fed.test(state, [0.25], attack=attack, batch_size=fed.batch_size, images="validation")
        assert torch.equal(tested.per_client, validated.per_client)
        assert tested.n_images == sum(len(client.val) for client in fed.clients)


@pytest.mark.parametrize("count", [0, 5])
def test_more_validated_clients_than_there_are_are_refused(federation, count):
    with pytest.raises(UserError, match=f"validate_clients={count}: the federation has 4 clients"):
        federation(validate_clients=count)
