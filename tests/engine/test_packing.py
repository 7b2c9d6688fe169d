"""Packs: every lane once, lanes that step together side by side, work shared out evenly."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitmix.algorithms.values import ClientTask
from splitmix.engine.packing import plan_packs
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.network import NetworkSpec

SPECS = [NetworkSpec(DigitCNN(), width, (3, 8, 8), 10) for width in (0.125, 0.25)]

clients = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 5), st.lists(st.integers(2, 5), min_size=1, max_size=3)),
    min_size=1,
    max_size=7,
)


def planned(clients, lanes, workers):
    tasks, batches, start = [], [], 0
    for client, (spec, rows, sizes) in enumerate(clients):
        tasks.append(ClientTask(0, client, SPECS[spec], tuple(range(rows))))
        batches.append([])
        for size in sizes:
            batches[-1].append(torch.arange(start, start + size))
            start += size
    return tasks, batches, plan_packs(tasks, batches, lambda spec: lanes, workers)


@settings(max_examples=60, deadline=None)
@given(clients, st.integers(1, 6), st.integers(1, 3))
def test_every_lane_steps_once_on_each_of_its_batches(clients, lanes, workers):
    tasks, batches, packs = planned(clients, lanes, workers)
    seen = {}
    for pack in packs:
        assert 1 <= len(pack.lanes) <= lanes
        assert [part for _, task in pack.tasks() for part in task.base_models] == [
            lane.base_model for lane in pack.lanes
        ]
        for step in pack.steps():
            rows = step.rows.expand(step.high - step.low, -1)
            for lane, wanted in zip(pack.lanes[step.low : step.high], rows, strict=True):
                steps = seen.setdefault((pack.spec, lane.client, lane.base_model), [])
                assert step.number == len(steps)
                steps.append(wanted.tolist())
    expected = {
        (task.spec, task.client, row): [batch.tolist() for batch in rows]
        for task, rows in zip(tasks, batches, strict=True)
        for row in task.base_models
    }
    assert seen == expected


def test_leftover_lanes_are_split_evenly_over_the_workers():
    _, _, packs = planned([(0, 1, [4])] * 10, 4, 2)
    assert [len(pack.lanes) for pack in packs] == [3, 3, 2, 2]


def test_a_clients_own_lanes_share_their_input_and_the_rest_does_not():
    _, _, packs = planned([(0, 5, [4]), (0, 2, [4])], 4, 1)
    assert [(len(pack.lanes), pack.shared) for pack in packs] == [(4, True), (3, False)]


def test_equal_schedules_step_as_one():
    _, _, [pack] = planned([(0, 1, [4, 4, 3]), (0, 1, [4, 4]), (0, 1, [4, 4, 3])], 8, 1)
    assert [(step.low, step.high, step.number) for step in pack.steps()] == [(0, 3, 0), (0, 3, 1), (0, 2, 2)]


def test_halves_keep_every_lane():
    _, _, [pack] = planned([(0, 1, [4])] * 5, 8, 1)
    first, second = pack.halves()
    assert first.lanes + second.lanes == pack.lanes
