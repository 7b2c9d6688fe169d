"""Planning a fleet: budgets by device, who is left out, what a round is predicted to take."""

from dataclasses import replace

import msgspec
import pytest
from devices import device, measured

from splitmix.algorithms.algorithm import method_of
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.config import load_run_config
from splitmix.deploy.plan_tables import fleet_notes
from splitmix.deploy.planning import (
    Wishes,
    check_settings,
    fleet_of_members,
    members,
    methods_to_probe,
    prediction,
    settings_of,
)
from splitmix.errors import UserError
from splitmix.fleet import Fleet, FleetClient

ROWS = tuple(
    measured(width, base_models=k, load=float(k), step_s=0.1 * k, start_s=0.5)
    for k, width in ((1, 0.125), (2, 0.25), (4, 0.5), (8, 1.0))
)
PI = device(*ROWS, local_epochs=1)  # ten steps in a round: 1.5, 2.5, 4.5, 8.5 s


def components():
    from splitmix.commands.help import composed
    from splitmix.config import resolve

    config = load_run_config(resolve(composed("train", [])))
    return config.dataset, config.budget, config.model, config.train_attack


def test_budgets_follow_from_speed_deadline_and_stragglers():
    def budgets(**wishes):
        return [member.measured.width for member in members([PI], Wishes(**wishes))[0]]

    assert budgets(round_seconds=9) == [1.0]
    assert budgets(round_seconds=9, straggler=1.1) == [0.5]
    assert budgets(round_seconds=9, slower=(1, 2, 4), clients=4) == [1.0, 0.5, 0.125, 1.0]
    assert budgets(round_seconds=9, slower=(1, 2)) == [1.0, 0.5]
    chosen, left_out = members([PI], Wishes(round_seconds=9, slower=(1, 10)))
    assert [member.seconds for member in chosen] == pytest.approx([8.5])
    assert left_out == ["left out: pi, 10 times as slow as measured: ×0.125 takes up to 15 s and 1 GB, over 9 s"]
    with pytest.raises(UserError, match=r"none can take part \(left out: pi.* and 0\.1 GB\)"):
        members([PI], Wishes(max_memory=10**8))


def test_the_fleet_says_what_was_measured_and_names_each_client():
    other = msgspec.structs.replace(PI, name="tv", measured=tuple(map(slow_start, ROWS)))
    chosen, _ = members([PI, other], Wishes(clients=3, round_seconds=9, drop_out=0.25))
    fleet = fleet_of_members(chosen, Wishes(drop_out=0.25, min_clients=2, round_seconds=9))
    assert [client.id for client in fleet.clients] == ["pi-0", "tv", "pi-1"]
    pi, tv = fleet.clients[:2]
    assert pi.loads == (1, 2, 4, 8) and pi.step_seconds == pytest.approx((0.1, 0.2, 0.4, 0.8))
    assert (pi.budget, tv.budget, tv.start_seconds, pi.drop_out) == (1.0, 0.5, 1.5, 0.25)
    assert (fleet.batch_size, fleet.base_width, fleet.round_seconds, fleet.min_clients) == (10, 0.125, 9, 2)
    with pytest.raises(UserError, match=r"different settings \(batch_size=10.*; batch_size=20"):
        fleet_of_members([*chosen, replace(chosen[0], device=msgspec.structs.replace(PI, batch_size=20))], Wishes())


def slow_start(row):
    return msgspec.structs.replace(row, start_s=1.5)


def fleet_of(*budgets, **settings):
    clients = [FleetClient(f"c{n}", "x", budget, (0.1,), start_seconds=0.5) for n, budget in enumerate(budgets)]
    return Fleet(tuple(clients), **{"batch_size": 10, **settings})


@pytest.mark.parametrize(("algorithm", "counts"), [(SplitMix(), (1.5,) * 8), (HeteroFL(), (3, 2, 1))])
def test_it_is_predicted_who_trains_what(algorithm, counts):
    dataset, _, model, attack = components()
    fleet = fleet_of(0.125, 0.375, 1.0)
    method = method_of(dataset, fleet, [0.125, 0.375, 1.0], algorithm, model, attack, None)
    predicted = prediction(fleet, method, [100] * 3, rounds=80, per_round=None)
    assert list(predicted.trainers.values()) == pytest.approx(list(counts), abs=0.2)
    assert predicted.in_time == 3
    sent = 4 * sum(map(method.upload_entries, (0.125, 0.375, 1.0)))
    assert predicted.bytes_down == predicted.bytes_up == sent
    assert predicted.validation_bytes == pytest.approx(4 * method.upload_entries(1.0), rel=0.02)
    if method.base_models > 1:
        assert predicted.seconds == pytest.approx(0.5 + 10 * 0.8)


def test_thin_parts_and_a_missing_width_are_warned_of():
    dataset, _, model, attack = components()
    fleet = fleet_of(0.125, 0.5)
    method = method_of(dataset, fleet, [0.125, 0.5], SplitMix(), model, attack, None)
    predicted = prediction(fleet, method, [100] * 2, 40, None)
    widest, thin = fleet_notes(fleet, predicted, 1.0, 2)
    assert widest == "no client can train more than ×0.5: the widest model of a run will be ×0.5"
    assert thin.startswith("too few clients train base model 0, base model 1, base model 2 and 1 more: 1")
    assert fleet_notes(fleet, predicted, 0.5, 1) == []


def test_what_is_probed_has_the_budget_that_it_is_called_by():
    dataset, budget, model, attack = components()
    methods = methods_to_probe(dataset, budget, SplitMix(), model, attack, 16)
    assert [width for width, _ in methods] == [k / 8 for k in range(1, 9)]
    assert all(method.problem.budgets[0] == width for width, method in methods)
    assert methods[0][1].problem.input_shape == (3, 16, 16)
    assert [width for width, _ in methods_to_probe(dataset, budget, HeteroFL(), model, attack, None)] == [
        0.125, 0.25, 0.5, 1.0
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"base_widths=\[0\.125,0\.125,0\.25,0\.5\] gives a budget base models of diff"):
        methods_to_probe(dataset, budget, SplitMix(base_widths=(0.125, 0.125, 0.25, 0.5)), model, attack, None)


def test_devices_that_were_probed_otherwise_are_refused():
    dataset, budget, model, attack = components()
    problem = methods_to_probe(dataset, budget, SplitMix(), model, attack, None)[0][1].problem
    settings = settings_of({"algorithm": {"atom_width": 0.125}, "model": {"bn": "batch"}}, problem)
    same = msgspec.structs.replace(PI, settings=settings)
    check_settings(same, "a.json", settings)
    check_settings(same, "a.json", {**settings, "algorithm": {"atom_width": 0.125, "base_widths": None}})
    for change, words in (
        (
            {"algorithm": {"atom_width": 0.25}},
            r"a\.json: it was probed with algorithm\.atom_width=0\.125, .* has 0\.25",
        ),
        ({"image_shape": [3, 16, 16]}, r"image_shape=\[3, 28, 28\]"),
    ):
        with pytest.raises(UserError, match=words):
            check_settings(same, "a.json", {**settings, **change})
