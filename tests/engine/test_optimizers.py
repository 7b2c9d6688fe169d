"""Local optimizers: gradients clipped lane by lane, and what is refused."""

import pytest
import torch

from splitmix.engine.optimizers import SGD, Adam, clip_lanes
from splitmix.errors import UserError


def test_every_lane_is_clipped_as_clip_grad_norm_clips_one():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 5), (3, 7)]
    lanes = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    scale = torch.tensor([0.01, 1.0, 10.0])
    for value in lanes:
        value.grad = torch.randn(value.shape, generator=generator) * scale.view(-1, *[1] * (value.dim() - 1))
    alone = [[torch.zeros(value.shape[1:], requires_grad=True) for value in lanes] for _ in range(3)]
    for lane, parameters in enumerate(alone):
        for one, value in zip(parameters, lanes, strict=True):
            one.grad = value.grad[lane].clone()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    clip_lanes(lanes, 1.0)
    for lane, parameters in enumerate(alone):
        for one, value in zip(parameters, lanes, strict=True):
            torch.testing.assert_close(value.grad[lane], one.grad)


def test_a_small_clip_norm_shortens_the_step(federation):
    moved = []
    for clip_norm in (None, 1e6, 1e-3):
        fed = federation(optimizer=SGD(0.1, 0.0, 0.0, clip_norm))
        state = fed.initial_state()
        after = fed.run_round(state)[0].tensors["fc3.weight"]
        moved.append(float((after - state.tensors["fc3.weight"]).norm()))
    assert moved[0] == moved[1] > 100 * moved[2] > 0


@pytest.mark.parametrize("optimizer", [SGD(clip_norm=0.0), Adam(clip_norm=-1.0), SGD(clip_norm=float("nan"))])
def test_a_wrong_clip_norm_is_named(optimizer):
    with pytest.raises(UserError, match=r"optimizer\.clip_norm="):
        optimizer.check()
