"""Speed of single operations on a device: the chosen way to compute lanes beside the ways that were not chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from splitmix.engine.precision import Place
from splitmix.engine.settings import EngineSettings
from splitmix.engine.worker_process import keep_freed_memory
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.layers import LaneConv2d
from splitmix.models.network import NetworkSpec
from splitmix.randomness import torch_rng

IMAGES = 32
LANES = {"cpu": 4, "cuda": 128, "mps": 128}
"""Lanes of a pack where the settings leave their number open: about what `auto` takes."""
LAYERS = {"conv1, own images": (3, 8, 28), "conv2": (8, 8, 14), "conv3": (8, 16, 7)}
"""Inputs, outputs and side of the digit CNN's convolutions at width 0.125."""


def layer_times(engine: EngineSettings, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Milliseconds forward and backward (medians), by operation and way; the first way is the one in use.

    Device, precision and number of lanes are the engine's; a CPU uses one thread.
    """
    place = engine.own_place()
    lanes = engine.lanes if isinstance(engine.lanes, int) else LANES[place.device.type]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    record: dict[str, dict[str, float]] = {}
    operations = [*convolutions(place, lanes), ("2x2 max-pool and ReLU", pools(place, lanes))]
    for name, ways in [*operations, ("SGD step", optimizers(place, lanes))]:
        record[name] = {way: milliseconds(function, place) for way, function in ways.items()}
        say(f"{name}: " + ", ".join(f"{way} {ms:.2f} ms" for way, ms in record[name].items()))
    torch.set_num_threads(threads)
    return record


def milliseconds(function: Callable[[], object], place: Place, repeats: int = 30) -> float:
    """Median time of a call, until the device has done it."""
    wait = torch.cuda.synchronize if place.device.type == "cuda" else lambda: None
    times = []
    for _ in range(repeats + 5):
        wait()
        start = perf_counter()
        with place.autocast():
            function()
        wait()
        times.append(perf_counter() - start)
    return 1000 * median(times[5:])


def convolutions(place: Place, lanes: int) -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    """One grouped convolution; unfolded images and batched matrix products; one convolution per lane."""
    for name, (inputs, outputs, side) in LAYERS.items():
        layer = LaneConv2d(lanes, inputs, outputs, 5, padding=2)
        layer.reset_parameters(torch_rng(0, "layers"))
        layer.to(place.device, place.dtype)
        x = torch.rand(IMAGES, lanes * inputs, side, side, device=place.device, dtype=place.dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_(not name.startswith("conv1"))
        yield name, convolution_ways(layer, x, lanes)


def convolution_ways(layer: LaneConv2d, x: Tensor, lanes: int) -> dict[str, Callable[[], object]]:
    assert layer.bias is not None
    weight, bias = layer.weight, layer.bias
    inputs = [weight, bias, *([x] if x.requires_grad else [])]

    def backward(out: Tensor) -> None:
        torch.autograd.grad(out, inputs, torch.ones_like(out))

    def matrix_products() -> None:
        columns = F.unfold(x, 5, padding=2).unflatten(1, (lanes, -1)).permute(1, 2, 0, 3).flatten(2)
        backward(torch.baddbmm(bias.unsqueeze(2), weight.flatten(2), columns))

    def one_by_one() -> None:
        each = zip(x.chunk(lanes, 1), weight, bias, strict=True)
        backward(torch.cat([F.conv2d(images, kernel, shift, padding=2) for images, kernel, shift in each], 1))

    return {
        "grouped": lambda: backward(layer(x)),
        "matrix products": matrix_products,
        "lane by lane": one_by_one,
    }


def pools(place: Place, lanes: int) -> dict[str, Callable[[], object]]:
    """Pooling before or after the ReLU, and by views."""
    x = torch.randn(IMAGES, lanes * 8, 28, 28, device=place.device, dtype=place.dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def backward(out: Tensor) -> None:
        torch.autograd.grad(out, x, torch.ones_like(out))

    return {
        "pool, ReLU": lambda: backward(F.max_pool2d(x, 2).relu_()),
        "ReLU, pool": lambda: backward(F.max_pool2d(x.relu(), 2)),
        "largest of a view": lambda: backward(x.unflatten(3, (14, 2)).unflatten(2, (14, 2)).amax((3, 5)).relu()),
    }


def optimizers(place: Place, lanes: int) -> dict[str, Callable[[], object]]:
    """PyTorch's fused step, its others, and one over all parameters laid end to end."""
    network = NetworkSpec(DigitCNN(), 0.125, (3, 28, 28), 10).build(lanes).to(place.device, place.dtype)
    parameters = list(network.parameters())
    flat = torch.nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    for parameter in [*parameters, flat]:
        parameter.grad = torch.rand_like(parameter)

    def step(over: list[torch.nn.Parameter], **kind: bool) -> Callable[[], object]:
        return torch.optim.SGD(over, 0.1, momentum=0.9, weight_decay=5e-4, **kind).step

    return {
        "fused": step(parameters, fused=True),
        "foreach": step(parameters, foreach=True),
        "one by one": step(parameters, foreach=False),
        "fused, one flat buffer": step([flat], fused=True),
    }
