"""A federation at a desk: `fit` is the loop, callbacks see and end it, `with` closes it, values tell what they are."""

import pandas as pd
import pytest
import torch

import splitmix
from splitmix.errors import UserError


@pytest.mark.slow
def test_fit_is_the_loop(federation):
    fed = federation()
    state = fed.initial_state()
    losses = []
    for _ in range(3):
        state, metrics = fed.run_round(state)
        losses.append(metrics.loss)
    history = fed.fit()
    assert all(torch.equal(history.state.tensors[name], value) for name, value in state.tensors.items())
    frame = history.to_frame()
    assert frame.index.tolist() == [0, 1, 2] and frame.index.name == "round"
    assert frame["train_loss"].tolist() == losses and len(history) == 3
    assert frame["val_sa/1.0"].iloc[-1] == fed.validate(state, [1.0]).mean()[1.0]


def test_the_best_state_is_that_of_the_highest_accuracy_at_the_largest_width(federation):
    fed = federation()
    history = fed.fit(widths=[0.125, 1.0])
    column = history.to_frame()["val_sa/1.0"]
    assert history.best_round == int(column.idxmax())
    assert fed.validate(history.best, [1.0]).mean()[1.0] == column.max()


@pytest.mark.slow
def test_a_fit_goes_on_where_a_state_is_and_validates_when_asked(federation):
    fed = federation()
    state, _ = fed.run_round(fed.initial_state())
    history = fed.fit(state, validate_every=2, widths=[0.25])
    frame = history.to_frame()
    assert frame.index.tolist() == [1, 2] and frame["val_sa/0.25"].notna().tolist() == [True, True]
    sparse = fed.fit(validate_every=3).to_frame()
    assert sparse["val_sa/1.0"].notna().tolist() == [False, False, True]
    unvalidated = fed.fit(widths=[])
    assert unvalidated.best is unvalidated.state and "val_sa/1.0" not in unvalidated.to_frame()
    assert len(fed.fit(history.state)) == 0 and fed.fit(history.state).to_frame().empty


def test_callbacks_see_every_round_and_may_end_it(federation):
    seen = []

    def watch(last, history):
        seen.append((last.metrics.round, last.state.round, len(history)))
        return len(history) == 2

    history = federation().fit(widths=[], callbacks=[watch])
    assert seen == [(0, 1, 1), (1, 2, 2)] and history.state.round == 2


@pytest.mark.parametrize(
    ("keys", "line"), [({"validate_every": 0}, "validate_every=0: give at least 1"), ({"widths": [0.3]}, "width 0.3")]
)
def test_mistakes_are_named_before_training(federation, keys, line):
    with pytest.raises(UserError, match=line):
        federation().fit(**keys, callbacks=[lambda *_: pytest.fail("trained")])


@pytest.mark.slow  # worker processes
def test_with_ends_the_workers_and_a_later_round_starts_new_ones(federation):
    engine = splitmix.EngineSettings(lanes=4, workers=2)
    with federation(engine=engine) as fed:
        state, _ = fed.run_round(fed.initial_state())
        pool = fed.engine.pool
        assert not pool.closed
    assert pool.closed and fed.engine.pool is None
    assert fed.run_round(state)[0].round == 2
    fed.close()
    assert fed.engine.pool is None


def test_values_say_what_they_are(federation, dataset):
    fed = federation()
    assert repr(fed) == (
        "Federation(noise, 4 clients of 2 domains, algorithm splitmix, model digit_cnn, 3 rounds, seed 1)"
    )
    assert repr(fed.fit(callbacks=[lambda *_: True])).startswith("History(1 of 3 rounds, best ")
    assert "0, 0, 0" not in repr(dataset) and len(repr(dataset.train)) < 80


def test_accuracies_become_a_frame(federation):
    fed = federation()
    accuracy = fed.test(fed.initial_state(), [0.125, 1.0])
    frame = accuracy.to_frame(fed.clients)
    assert frame.index.names == ["client", "domain"] and frame.columns.tolist() == [0.125, 1.0]
    assert frame.loc[("1-0", "b"), 1.0] == float(accuracy.per_client[2, 1])
    assert frame.mean().to_dict() == pytest.approx(accuracy.mean())
    assert accuracy.to_frame().index.tolist() == [0, 1, 2, 3] and isinstance(frame, pd.DataFrame)
    assert repr(accuracy).startswith("Accuracy(×0.125 ") and repr(accuracy).endswith("4 clients, 44 images)")
