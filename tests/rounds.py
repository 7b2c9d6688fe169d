"""Rounds of a federation as many tests train them, and that packed and shared-out lanes are those of one at a time."""

import torch

from splitmix.engine.settings import EngineSettings

EXACT = EngineSettings(lanes=3, workers=1, threads=1, precision="64-true")
PATHS = ((1, 1), (4, 1), (2, 2))
"""Lanes trained together, and worker processes."""


def after(fed, rounds=2):
    """The state after some rounds, and the metrics of the last."""
    state = fed.initial_state()
    for _ in range(rounds):
        state, metrics = fed.run_round(state)
    return state, metrics


def check_every_path_is_one_lane_at_a_time(federation_of, rounds=2, paths=PATHS):
    """Train on every path of the engine, in float64; returns the last federation and the state of the first path.

    Args:
        federation_of: makes the federation with the settings of an engine.
        paths: the first is one lane at a time.
    """
    states = []
    for lanes, workers in paths:
        fed = federation_of(EngineSettings(lanes=lanes, workers=workers, threads=1, precision="64-true"))
        states.append(after(fed, rounds)[0])
        fed.engine.close()
    for other in states[1:]:
        for name, value in states[0].tensors.items():
            torch.testing.assert_close(other.tensors[name], value, rtol=1e-5, atol=1e-6, msg=name)
    return fed, states[0]
