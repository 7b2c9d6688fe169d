"""What very many clients remember has rows for those alone that have trained, and the numbers are the same."""

import pytest
import torch
from conftest import image_set

from splitmix.algorithms import client_rows
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.dataset import Dataset
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.customize import customize
from splitmix.federation.federation import Federation
from splitmix.models.digit_cnn import DigitCNN
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

CLIENTS = 6


def federation(algorithm, workers=1, **settings):
    classes = tuple(str(c) for c in range(10))
    dataset = Dataset("noise", ("a",), classes, image_set((216,), 0), image_set((24,), 1))
    engine = EngineSettings(accelerator="cpu", lanes=1, workers=workers, threads=1)
    return Federation(
        dataset, algorithm, DigitCNN(bn="local"), engine=engine, clients_per_domain=CLIENTS, batch_size=8, rounds=3,
        clients_per_round=2, **settings,
    )  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    """Six clients count as very many."""

    def change():
        monkeypatch.setattr(client_rows, "DENSE_BYTES", 0)

    return change


@pytest.mark.parametrize(
    ("algorithm", "workers"),
    [(SplitMix(atom_width=0.5, rescale_init=False), 1), pytest.param(Scaffold(width=0.25), 2, marks=pytest.mark.slow)],
)
def test_rows_of_those_that_trained_give_the_numbers_of_rows_of_all(few, algorithm, workers, tmp_path):
    settings = {"budget": None, "validate_clients": 3}
    if isinstance(algorithm, SplitMix):
        from splitmix.federation.budgets import Groups

        settings["budget"] = Groups("2-1")
    results = []
    for sparse in (False, True):
        if sparse:
            few()
        with federation(algorithm, workers, **settings) as made:
            state = made.initial_state()
            for _ in range(2):
                state, metrics = made.run_round(state)
            sa = made.validate(state, made.method.widths)
            test = made.test(state, made.method.widths[-1:])
            results.append((made.method, state, metrics, sa, test))
    (_, all_rows, metrics, sa, test), (method, some, *same) = results
    assert all_rows.slots is None and len(some.slots) == CLIENTS
    trained = int((some.slots > 0).sum())
    assert 2 <= trained <= 4 and all(len(value) == 1 + trained for value in some.clients.values())
    assert (metrics.loss, sa.per_client.tolist(), test.per_client.tolist()) == (
        same[0].loss, same[1].per_client.tolist(), same[2].per_client.tolist()
    )  # fmt: skip
    everyone = some.dense()
    for part in ("tensors", "server", "clients"):
        for name, value in getattr(all_rows, part).items():
            assert torch.equal(value, getattr(everyone, part)[name])
    images = torch.rand(4, 3, 8, 8)
    models = [customize(method, state, method.widths[-1], client=4) for state in (all_rows, some)]
    assert torch.equal(models[0](images), models[1](images))
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, Checkpoint(some, 0, 0.5, 1.0))
    loaded = load_checkpoint(path, method).state
    assert torch.equal(loaded.slots, some.slots)
    assert all(torch.equal(loaded.clients[name], value) for name, value in some.clients.items())


def test_a_checkpoint_whose_slots_are_wrong_is_refused(few, tmp_path):
    few()
    made = federation(Scaffold(width=0.25))
    state = made.initial_state()
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, Checkpoint(state, -1, -1.0, 0.0))
    content = torch.load(path, weights_only=True)
    torch.save({**content, "slots": torch.full((CLIENTS,), 7)}, path)
    with pytest.raises(UserError, match=r"is damaged.*slots name rows that are not there"):
        load_checkpoint(path, made.method)
    torch.save({**content, "slots": torch.zeros(2, dtype=torch.int64)}, path)
    with pytest.raises(UserError, match="slots are no whole numbers of 6 clients"):
        load_checkpoint(path, made.method)


def test_a_checkpoint_of_an_earlier_version_has_a_row_for_every_client(few, tmp_path):
    made = federation(Scaffold(width=0.25))
    before, _ = made.run_round(made.initial_state())
    save_checkpoint(tmp_path / "last.ckpt", Checkpoint(before, -1, -1.0, 0.0))
    few()
    after = load_checkpoint(tmp_path / "last.ckpt", made.method).state
    assert after.slots.tolist() == [1, 2, 3, 4, 5, 6]
    everyone = after.dense()
    assert all(torch.equal(everyone.clients[name], value) for name, value in before.clients.items())
    save_checkpoint(tmp_path / "last.ckpt", Checkpoint(after, -1, -1.0, 0.0))


def test_a_checkpoint_with_slots_does_not_fit_a_run_without(few, monkeypatch, tmp_path):
    few()
    made = federation(Scaffold(width=0.25))
    save_checkpoint(tmp_path / "last.ckpt", Checkpoint(made.initial_state(), -1, -1.0, 0.0))
    monkeypatch.setattr(client_rows, "DENSE_BYTES", 1 << 30)
    with pytest.raises(UserError, match="clients' memory is of another kind"):
        load_checkpoint(tmp_path / "last.ckpt", made.method)
