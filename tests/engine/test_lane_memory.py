"""The number of lanes that a GPU has memory for: from what a lane takes, whatever the device has free."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from own_nets import Patches

from splitmix.algorithms.splitmix import SplitMix
from splitmix.engine import lane_memory
from splitmix.engine.lane_memory import lane_bytes, planned_lanes
from splitmix.engine.settings import EngineSettings
from splitmix.engine.shared_memory import bytes_needed
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.module import Module
from splitmix.models.network import lane_template

ALONE = EngineSettings(workers=1, threads=1)


def test_a_lane_takes_its_parameters_three_times_and_what_its_images_become(federation):
    fed = federation(engine=ALONE)
    trainer, spec = fed.engine.trainer, fed.method.spec
    at = {batch: lane_bytes(trainer, spec, batch) for batch in (8, 16, 24)}
    # Weights, gradients and momentum do not grow with the batch, all else does, in proportion.
    assert at[24] - at[16] == pytest.approx(at[16] - at[8], rel=0.02)
    lasting = 3 * bytes_needed(lane_template(spec, 1))
    assert at[8] - (at[16] - at[8]) == pytest.approx(lasting, rel=0.1)
    # Of each image at least itself and what the first convolution makes of it, and less than ten times that.
    channels, height, width = spec.input_shape
    first = lane_template(spec, 1)["conv1.weight"].shape[1]
    of_image = 4 * (channels + first) * height * width
    assert of_image < (at[16] - at[8]) / 8 < 10 * of_image


def test_nine_passes_of_adversarial_training_do_not_take_nine_times_the_memory(federation):
    plain = federation(engine=ALONE, model=DigitCNN(bn="tracked"))
    algorithm = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.5)
    attacked = federation(engine=ALONE, model=DigitCNN(bn="tracked"), algorithm=algorithm)
    one, many = (lane_bytes(fed.engine.trainer, fed.method.spec, 8) for fed in (plain, attacked))
    assert one < many < 3 * one


def test_a_network_that_torch_func_stacks_is_measured_lane_by_lane(federation):
    """`torch.func` knows no count of what is kept, so that the lanes run one after another, here alone."""
    fed = federation(engine=ALONE, model=Module(Patches, packing="stacked"), algorithm=SplitMix(rescale_layer=False))
    trainer, spec = fed.engine.trainer, fed.method.spec
    assert lane_bytes(trainer, spec, 16) > lane_bytes(trainer, spec, 8) > 3 * bytes_needed(lane_template(spec, 1))
    assert trainer.trainable_lanes(spec, 2).network.stacked


@pytest.mark.parametrize(("room", "lanes"), [(0.5, 1), (1.4, 1), (5.4, 4), (1000, 512)])
def test_a_gpu_takes_a_power_of_two_of_lanes_that_fits(federation, monkeypatch, room, lanes):
    fed = federation(engine=ALONE)
    trainer, spec, batch = fed.engine.trainer, fed.method.spec, fed.engine.batch_size
    free = int(room * lane_bytes(trainer, spec, batch) / lane_memory.SHARE)
    # Half of it is held by PyTorch, without use.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free // 2, 10 * free))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: free)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: free - free // 2)
    assert planned_lanes(trainer, spec, batch) == lanes
    monkeypatch.setattr(fed.engine, "fabric", SimpleNamespace(device=torch.device("cuda")))
    fed.engine.settings = replace(ALONE, lanes="auto")
    assert fed.engine.lanes_of(spec) == lanes and fed.engine.tuned[spec.label] == lanes
