"""J J^T of a gradient layer by layer, without the gradient of every weight along every pixel.

The gradient of a layer's weights is D A^T: A its inputs, D the gradient by its outputs, a column for every image and
place. Along a pixel it changes by dD A^T + D dA^T, which lies in a known space of few dimensions where a layer has many
weights and few columns: two orthonormal bases, of A's columns and of D's, then keep all inner products in
`columns * (inputs + outputs)` numbers instead of `inputs * outputs`. A fully connected layer of 784 to 256 units takes
1,040 numbers per pixel instead of 200,704.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from splitmix.errors import UserError
from splitmix.leakage.forward_mode import jvp
from splitmix.leakage.networks import ClientModel
from splitmix.leakage.spectrum import Factor
from splitmix.models.layers import LaneConv2d, LaneLinear
from splitmix.models.network import Tensors
from splitmix.models.tokens import TokenLinear

CHUNK_VALUES = 2**24
"""Numbers that the changes of the layers along one chunk of pixels may take, about."""
MOST_VALUES = 2**29
"""Numbers that J may take, 4 GiB."""


@dataclass
class Layer:
    """A layer at the true images.

    Attributes:
        module: the layer.
        inputs: A `[inputs, columns]`.
        slopes: D `[outputs, columns]`.
        weight, bias: whether these are uploaded.
        bases: of A and of D, as QR decompositions, where they save room; else None.
    """

    module: LaneConv2d | LaneLinear
    inputs: Tensor
    slopes: Tensor
    weight: bool = True
    bias: bool = True
    bases: tuple[Tensor, Tensor, Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        rows, columns = len(self.inputs), self.inputs.shape[1]
        if columns * (rows + len(self.slopes)) < rows * len(self.slopes):
            base, triangle = torch.linalg.qr(self.inputs)
            self.bases = base, triangle, torch.linalg.qr(self.slopes)[1]

    def changes(self, inputs: Tensor, slopes: Tensor) -> list[Tensor]:
        """How its uploaded gradient changes, in numbers that keep all inner products; `[pixels, ...]` each.

        Args:
            inputs: dA `[pixels, inputs, columns]`.
            slopes: dD `[pixels, outputs, columns]`.
        """
        scale = 1 / self.module.rescale if self.module.training else 1.0
        parts = []
        if self.weight and self.bases is None:
            parts.append(slopes @ self.inputs.T + self.slopes @ inputs.transpose(1, 2))
        elif self.weight and self.bases is not None:
            base, triangle, of_slopes = self.bases
            within = inputs.transpose(1, 2) @ base
            parts.append(slopes @ triangle.T + self.slopes @ within)
            parts.append(of_slopes @ (inputs.transpose(1, 2) - within @ base.T))
        if self.bias and self.module.bias is not None:
            parts.append(slopes.sum(2))
        return [scale * part.flatten(1) for part in parts]


def columns_of(module: LaneConv2d | LaneLinear, inputs: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and slopes of a layer as matrices, `[..., inputs, columns]` and `[..., outputs, columns]`.

    Args:
        inputs, slopes: `[..., n, channels, h, w]`, or `[..., n, channels]`, or of tokens `[..., 1, rows, channels]`.
    """
    if isinstance(module, TokenLinear):
        inputs, slopes = inputs.squeeze(-3), slopes.squeeze(-3)  # of a single lane
    if isinstance(module, LaneLinear):
        return inputs.transpose(-1, -2), slopes.transpose(-1, -2)
    lead = inputs.shape[:-3]
    kernel = module.weight.shape[-2:]
    patches = F.unfold(inputs.flatten(0, -4), tuple(kernel), module.dilation, module.padding, module.stride)
    patches = patches.unflatten(0, lead).transpose(-3, -2).flatten(-2)
    return patches, slopes.flatten(-2).transpose(-3, -2).flatten(-2)


def gradient_factor(
    model: ClientModel,
    images: Tensor,
    labels: Tensor,
    position: int,
    progress: Callable[[float], None] | None = None,
) -> Factor:
    """J J^T of the gradient of one batch by one of its images, the others known.

    Args:
        images: the batch, float64 `[n, channels, h, w]`.
        labels: `[n]`.
        position: the unknown image.
        progress: told the share of the pixels done after every chunk.

    Raises:
        UserError: J would not fit into 4 GiB, or a network with grouped convolutions.
    """
    count = len(images)
    if model.fixed and not model.masked:
        # The gradient of a mean is the mean of the gradients: the other images do not matter.
        alone = images[position : position + 1], labels[position : position + 1]
        images, labels, position = *alone, 0
    modules = {
        name: module for name, module in model.network.named_modules() if isinstance(module, LaneConv2d | LaneLinear)
    }
    weights = {f"{name}.{part}" for name in modules for part in ("weight", "bias")}
    constant = {name: value for name, value in model.parameters.items() if name in weights or name in model.kept}
    direct = {name: value for name, value in model.parameters.items() if name not in constant}
    taps = Taps(model, modules, constant)
    before, after = images[:position], images[position + 1 :]
    zeros = taps.zeros(direct, images)

    def measured(unknown: Tensor) -> tuple[Tensors, Tensors, Tensors]:
        slope: Any = grad(taps.loss, argnums=(0, 1), has_aux=True)
        (gradients, slopes), inputs = slope(direct, zeros, torch.cat([before, unknown, after]), labels)
        return gradients, slopes, inputs

    unknown = images[position : position + 1]
    _, slopes, inputs = measured(unknown)
    for name, module in modules.items():
        if isinstance(module, LaneConv2d) and inputs[name].shape[1] != module.weight.shape[2]:
            raise UserError(
                f"layer {name} is a convolution in groups, which the audit does not know: choose another run"
            )
    layers = {
        name: Layer(
            module,
            *columns_of(module, inputs[name], slopes[name]),
            f"{name}.weight" not in model.kept,
            f"{name}.bias" not in model.kept,
        )
        for name, module in modules.items()
    }

    def along(tangent: Tensor) -> Any:
        return jvp(measured, (unknown,), (tangent,))[1]

    def changes(tangents: Tensor) -> Tensor:
        of_direct, of_slopes, of_inputs = vmap(along)(tangents)
        parts = [value.flatten(1) for value in of_direct.values()]
        for name, layer in layers.items():
            parts += layer.changes(*columns_of(layer.module, of_inputs[name], of_slopes[name]))
        return torch.cat(parts, 1).detach()

    unit = torch.eye(unknown.numel(), dtype=torch.float64).view(-1, *unknown.shape)
    first = changes(unit[:1])
    if first.shape[1] * len(unit) > MOST_VALUES:
        raise UserError(
            f"the Jacobian of an image of {len(unit)} values by {first.shape[1]} numbers of a base model takes more"
            " than 4 GiB: audit a narrower width, or fewer images per batch"
        )
    rows = torch.empty(len(unit), first.shape[1], dtype=torch.float64)
    per_pixel = sum(layer.inputs.numel() + layer.slopes.numel() for layer in layers.values())
    chunk = max(1, min(64, CHUNK_VALUES // (2 * per_pixel)))
    for start in range(0, len(unit), chunk):
        rows[start : start + chunk] = changes(unit[start : start + chunk])
        if progress is not None:
            progress(min(start + chunk, len(unit)) / len(unit))
    total = sum(value.numel() for name, value in model.parameters.items() if name not in model.kept)
    factor = Factor.of(rows, total)
    return factor.scaled(1 / count) if len(images) < count else factor


@dataclass
class Taps:
    """The loss with a place to differentiate at after every layer, which also tells the layers' inputs.

    Attributes:
        model: the base model.
        modules: the layers, by name.
        constant: parameters that nothing is differentiated by.
    """

    model: ClientModel
    modules: dict[str, Any]
    constant: Tensors

    def loss(self, direct: Tensors, added: Tensors, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensors]:
        """The loss, and every layer's input; `added` is added to the layers' outputs."""
        inputs: Tensors = {}

        def hook(name: str) -> Any:
            def tap(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
                inputs[name] = arguments[0]
                return output + added[name] if name in added else output

            return tap

        handles = [module.register_forward_hook(hook(name)) for name, module in self.modules.items()]
        try:
            logits = self.model.logits({**self.constant, **direct}, images)
        finally:
            for handle in handles:
                handle.remove()
        return self.model.loss_of(logits, labels), inputs

    def zeros(self, direct: Tensors, images: Tensor) -> Tensors:
        """Nothing, in the shape of every layer's output."""
        shapes: Tensors = {}

        def hook(name: str) -> Any:
            return lambda module, arguments, output: shapes.__setitem__(name, torch.zeros_like(output))

        handles = [module.register_forward_hook(hook(name)) for name, module in self.modules.items()]
        functional_call(
            self.model.network, {**self.model.statistics, **self.constant, **direct}, (images,), strict=False
        )
        for handle in handles:
            handle.remove()
        return shapes
