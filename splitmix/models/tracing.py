"""Follows a network's forward pass (torch.fx) to say whether many lanes of it can be computed side by side.

Lanes lie folded in dimension 1, `[n, lanes * features, ...]` (see `splitmix.models.layers`). Every operation must be
one of which it is known that lanes stay apart (`splitmix.models.operations`); some are written anew so that they do.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitmix.models import operations as ops
from splitmix.models.fusing import fuse
from splitmix.models.operations import Obstacle, argument, padding_of
from splitmix.models.packed_layers import lane_cat, reshaped
from splitmix.models.prototype import Source, prototype


@dataclass
class Traced:
    """A forward pass in which lanes may be folded.

    Attributes:
        graph: calls layers by their names in the network; those with weights stand for layers over lanes.
        positions: of a linear layer the inputs per channel of the layer before.
        dropouts: layers that the graph calls besides, by name: arguments of `LaneDropout`.
        own_images: every lane needs images of its own, since another operation than a convolution sees them first.
        unsliceable: why the first channels are not a network of smaller width; empty if they are.
    """

    graph: fx.Graph
    positions: dict[str, int] = field(default_factory=dict)
    dropouts: dict[str, tuple[float, int, bool]] = field(default_factory=dict)
    own_images: bool = False
    unsliceable: str = ""


@lru_cache(maxsize=64)
def traced(source: Source) -> Traced | str:
    """The network of a factory, followed; or why that is not possible."""
    module = copy.deepcopy(prototype(source)).to("meta")
    try:
        training, evaluation = (Follower(module.train(mode), source.input_shape).follow() for mode in (True, False))
    except Obstacle as obstacle:
        return str(obstacle)
    if str(training.graph) != str(evaluation.graph):
        return "forward computes otherwise in training than in evaluation"
    return training


class Shapes(fx.Interpreter):
    """The shape of every tensor of a forward pass, by node."""

    def __init__(self, module: nn.Module, graph: fx.Graph):
        super().__init__(module, graph=graph)
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = value.shape
        return value


class Follower:
    """Follows a forward pass in the mode, training or evaluation, that the network is in.

    Args:
        module: without memory.
        input_shape: channels, height, width of an image.
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, int, int]):
        self.module = module
        try:
            self.graph = fx.Tracer().trace(module)
            # Batches of two sizes, so that what goes by a fixed number of images is seen.
            self.shapes, self.larger = (self.shapes_of(torch.empty(n, *input_shape, device="meta")) for n in (2, 3))
        except Exception as error:
            raise Obstacle(f"forward cannot be traced ({' '.join(str(error).split())[:150]})") from error
        self.result = Traced(self.graph)
        self.blocks: dict[fx.Node, int] = {}  # indices in dimension 1 per channel

    def shapes_of(self, images: Tensor) -> dict[fx.Node, torch.Size]:
        interpreter = Shapes(self.module, self.graph)
        with torch.no_grad():
            interpreter.run(images)
        return interpreter.shapes

    def follow(self) -> Traced:
        """The forward pass, or Obstacle."""
        images, *others = [node for node in self.graph.nodes if node.op == "placeholder"]
        if others:
            raise Obstacle("forward takes more than images")
        self.blocks[images] = 1
        for node in list(self.graph.nodes):
            if node.op in ("placeholder", "output"):
                continue
            if node in self.shapes:
                new = self.rule(node)
                if new is not node:
                    self.shapes[new], self.larger[new] = self.shapes[node], self.larger[node]
                    node.replace_all_uses_with(new)
                    self.graph.erase_node(node)
            elif node.op not in ("call_function", "call_method") or node.target not in ops.SIZES:
                raise Obstacle(self.named(node))
        for node in reversed(self.graph.nodes):
            if node not in self.shapes and node.op not in ("placeholder", "output"):
                if node.users:
                    raise Obstacle(f"{self.named(next(iter(node.users)))} computes with the size of a tensor")
                self.graph.erase_node(node)
        fuse(self.graph, self.kind)
        self.result.own_images = not all(self.is_plain_conv(node) for node in images.users)
        return self.result

    def rule(self, node: fx.Node) -> fx.Node:
        """The operation of a node over folded lanes."""
        kind = self.kind(node)
        if node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            if layer._forward_hooks or layer._forward_pre_hooks:
                raise Obstacle(f"{node.target} has hooks")
        elif node.op == "get_attr":
            raise Obstacle(f"forward uses {node.target} outside of a layer")
        inputs = [one for one in node.all_input_nodes if one in self.shapes]
        if not inputs:
            raise Obstacle(self.named(node))
        self.blocks[node] = self.blocks[inputs[0]]
        if kind in ops.RESHAPES:
            return self.reshape(node, inputs[0])
        if len(inputs) != len(node.all_input_nodes):
            raise Obstacle(f"{self.named(node)} computes with the size of a tensor")
        if kind in ops.BINARY:
            self.binary(node, inputs)
        elif kind in ops.CONCATENATIONS:
            return self.concatenation(node, inputs)
        elif len(inputs) != 1:
            raise Obstacle(self.named(node))
        elif kind in (nn.Conv2d, nn.Linear, *ops.NORMS):
            self.layer(node, layer, self.shapes[inputs[0]])
        elif kind in ops.DROPOUTS:
            return self.dropout(node, inputs[0], ops.DROPOUTS[kind])
        elif kind in ops.SCORES:
            return self.scores(node, inputs[0], ops.SCORES[kind])
        elif kind in ops.REDUCTIONS:
            self.reduction(node, len(self.shapes[inputs[0]]))
        elif kind in ops.SPATIAL:
            if len(self.shapes[inputs[0]]) != 4:
                raise Obstacle(f"{self.named(node)} of what is no image")
        elif kind not in ops.ELEMENTWISE:
            raise Obstacle(self.named(node))
        return node

    def layer(self, node: fx.Node, layer: nn.Module, shape: torch.Size) -> None:
        """A layer with weights: what shape it sees, and whether its first channels are a narrower one."""
        path, block = str(node.target), self.blocks[node]
        if isinstance(layer, nn.Conv2d):
            if len(shape) != 4 or layer.padding_mode != "zeros" or padding_of(layer) is None:
                raise Obstacle(f"{path} pads in a way that is not known")
            if layer.groups not in (1, layer.in_channels):
                self.not_sliceable(f"{path} has groups")
            self.blocks[node] = 1
        elif isinstance(layer, nn.Linear):
            if len(shape) != 2:
                raise Obstacle(f"{path} is applied to {len(shape) - 1} dimensions of an image, not to one")
            if self.result.positions.setdefault(path, block) != block:
                self.not_sliceable(f"{path} is called twice")
            self.blocks[node] = 1
        elif isinstance(layer, nn.LayerNorm) and tuple(layer.normalized_shape) != tuple(shape[1:]):
            raise Obstacle(f"{path} normalises over a part of the features alone")
        elif block > 1:
            self.not_sliceable(f"{path} normalises single pixels")

    def binary(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        """Of two tensors: images and features must lie in the same places, else they would meet across lanes."""
        shapes = {(len(self.shapes[one]), self.shapes[one][:2]) for one in inputs}
        if len(shapes) > 1 or len(self.shapes[node]) < 2:
            raise Obstacle(f"{self.named(node)} of tensors of different shapes")
        if len({self.blocks[one] for one in inputs}) > 1:
            self.not_sliceable(f"{self.named(node)} of different layouts")

    def concatenation(self, node: fx.Node, inputs: list[fx.Node]) -> fx.Node:
        parts, dim = node.args[0], argument(node, 1, "dim", 0)
        dims = {len(self.shapes[one]) for one in inputs}
        if not isinstance(parts, list | tuple) or len(dims) > 1 or dim not in (1, 1 - min(dims)) or min(dims) < 2:
            raise Obstacle(f"{self.named(node)} over another dimension than the features")
        self.not_sliceable(f"{self.named(node)} joins features")
        return self.replaced(node, lane_cat, (list(parts), self.shapes[parts[0]][1]))  # type: ignore[index]

    def dropout(self, node: fx.Node, x: fx.Node, channels: bool) -> fx.Node:
        shape = self.shapes[x]
        if channels and len(shape) != 4:
            raise Obstacle(f"{self.named(node)} of what is no image")
        if node.op == "call_module":
            p = float(getattr(self.module.get_submodule(str(node.target)), "p", 0.5))
        else:
            p = float(argument(node, 1, "p", 0.5))
            if argument(node, 2, "training", True) != self.module.training:
                raise Obstacle(f"{self.named(node)} without training=self.training")
        name = f"lane_dropout_{len(self.result.dropouts)}"
        self.result.dropouts[name] = (p, shape[1], channels)
        with self.graph.inserting_before(node):
            new = self.graph.create_node("call_module", name, (x,))
        self.blocks[new] = self.blocks[node]
        return new

    def scores(self, node: fx.Node, x: fx.Node, function: Any) -> fx.Node:
        if node.op == "call_module":
            dim = getattr(self.module.get_submodule(str(node.target)), "dim", None)
        else:
            dim = argument(node, 1, "dim", None)
        if len(self.shapes[x]) != 2 or dim not in (1, -1):
            raise Obstacle(f"{self.named(node)} over another dimension than the scores")
        return self.replaced(node, function, (x, self.shapes[x][1]))

    def reduction(self, node: fx.Node, dims: int) -> None:
        over = argument(node, 1, "dim", None)
        over = over if isinstance(over, list | tuple) else [over]
        if not all(isinstance(dim, int) and dim % dims >= 2 for dim in over):
            raise Obstacle(f"{self.named(node)} over images or features")

    def reshape(self, node: fx.Node, x: fx.Node) -> fx.Node:
        """Flattening, or another shape behind the features; the call's own numbers need not hold for folded lanes."""
        pairs = [(known[x], known[node]) for known in (self.shapes, self.larger)]
        if all(tuple(after) == (before[0], math.prod(before[1:])) for before, after in pairs):
            new = self.replaced(node, torch.flatten, (x, 1))
            self.blocks[new] = self.blocks[x] * math.prod(self.shapes[x][2:])
            return new
        if all(after[:2] == before[:2] for before, after in pairs):
            return self.replaced(node, reshaped, (x, tuple(self.shapes[node][2:])))
        raise Obstacle(f"{self.named(node)} mixes images or features")

    def replaced(self, node: fx.Node, function: Any, arguments: tuple[Any, ...]) -> fx.Node:
        with self.graph.inserting_before(node):
            new = self.graph.call_function(function, arguments)
        self.blocks[new] = self.blocks[node]
        return new

    def not_sliceable(self, why: str) -> None:
        self.result.unsliceable = self.result.unsliceable or why

    def kind(self, node: fx.Node) -> Any:
        """The type of a layer, a function, or the name of a method."""
        known = node.op == "call_module" and node.target not in self.result.dropouts
        return type(self.module.get_submodule(str(node.target))) if known else node.target

    def is_plain_conv(self, node: fx.Node) -> bool:
        layer = self.module.get_submodule(str(node.target)) if self.kind(node) is nn.Conv2d else None
        return isinstance(layer, nn.Conv2d) and layer.groups == 1

    def named(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{node.target} ({self.kind(node).__name__})"
        return f"forward's {getattr(node.target, '__name__', node.target)}"
