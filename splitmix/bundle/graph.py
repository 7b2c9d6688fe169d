"""ONNX graphs of base models whose weights lie in safetensors files: of one base model, and of all with two dials."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from splitmix.bundle.lean_graph import constant, lean, read_instead
from splitmix.errors import UserError
from splitmix.models.fixed_norms import ordinary, set_level, with_fixed_norms
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors

OPSET = 18
IR_VERSION = 8
"""Read by onnxruntime from 1.14 on."""

Place = tuple[str, int, int]
"""Where a tensor's bytes lie: file, offset, length."""


class OneBaseModel(nn.Module):
    """A base model as an ordinary module: images `[n, channels, h, w]`, and where it has two branches a level, to
    logits `[n, classes]`."""

    def __init__(self, network: LaneNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, adv_lambda: Tensor | None = None) -> Tensor:
        if adv_lambda is not None:
            set_level(self.network, adv_lambda)
        try:
            logits: Tensor = self.network(image)[0]
        finally:
            if adv_lambda is not None:
                set_level(self.network, 0.0)
        return logits


def one_base_model(spec: NetworkSpec, tensors: Tensors) -> OneBaseModel:
    """The first lane of `tensors` (see `fixed_tensors`) as an ordinary module."""
    network = with_fixed_norms(spec, 1)
    network.load_lanes({name: value[:1] for name, value in tensors.items()})
    return OneBaseModel(ordinary(network))


def part_tensors(spec: NetworkSpec, tensors: Tensors, number: int) -> Tensors:
    """The tensors of base model `number` by the names of `base_graph`'s initializers, in the shapes used there."""
    module = one_base_model(spec, {name: value[number : number + 1] for name, value in tensors.items()})
    return {name: value.contiguous() for name, value in module.network.state_dict().items()}


def base_graph(spec: NetworkSpec, tensors: Tensors, location: Callable[[str], Place]) -> onnx.ModelProto:
    """The graph of one base model: inputs `image` and, with two branches, `adv_lambda`; output `logits`.

    Args:
        tensors: of lanes, see `fixed_tensors`; only their names and shapes matter.
        location: where a tensor of `part_tensors` lies.

    Raises:
        UserError: PyTorch cannot export the network.
    """
    module, dual = one_base_model(spec, tensors), spec.norm == "dual"
    inputs: tuple[Tensor, ...] = (torch.rand(2, *spec.input_shape), *([torch.tensor(0.5)] if dual else []))
    names = ["image", "adv_lambda"][: len(inputs)]
    batch = torch.export.Dim("n")
    shapes: Any = ({0: batch}, None)[: len(inputs)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, inputs, dynamo=True, dynamic_shapes=shapes, input_names=names, output_names=["logits"],
                opset_version=OPSET, optimize=False, verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(f"model={spec.model.name}: PyTorch cannot export this network to ONNX ({text})") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    weights = {name for name in part_tensors(spec, tensors, 0)}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name in weights:
            rename(model.graph, tensor.name, name)
            make_external(tensor, name, location(name))
    missing = weights - {tensor.name for tensor in model.graph.initializer}
    if missing:
        raise UserError(
            f"model={spec.model.name}: its weights {', '.join(sorted(missing)[:3])} are no part of the exported graph;"
            " format=torch_export takes such a network"
        )
    graph = lean(model.graph)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="splitmix"
    )


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give an initializer another name."""
    for tensor in graph.initializer:
        if tensor.name == old:
            tensor.name = new
    read_instead(graph.node, old, new)


def make_external(tensor: TensorProto, name: str, place: Place) -> None:
    """Let a tensor's data lie in another file; shape and type stay."""
    dims, data_type = list(tensor.dims), tensor.data_type
    tensor.Clear()
    tensor.name, tensor.data_type, tensor.data_location = name, data_type, TensorProto.EXTERNAL
    tensor.dims.extend(dims)
    for key, value in zip(("location", "offset", "length"), map(str, place), strict=True):
        tensor.external_data.add(key=key, value=value)


def dial_graph(base: onnx.ModelProto, count: int, location: Callable[[int, str], Place]) -> onnx.ModelProto:
    """All base models in one graph with two dials: inputs `image`, `base_models` and, with two branches, `adv_lambda`.

    Every base model but the first stands in the branch of an `If` that is taken when enough are asked for: one that
    is not mixed costs nothing. A number that is not from 1 to `count`, or a level outside [0, 1], is an error: it
    makes a shape that a `Reshape` cannot give.

    Args:
        base: the graph of one base model, of `base_graph`.
        location: where a tensor of a base model lies.

    Returns:
        A model with outputs `logits` and `probabilities`, `[n, classes]`.
    """
    graph = base.graph
    dual = any(value.name == "adv_lambda" for value in graph.input)
    weights = [tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    constants = [tensor for tensor in graph.initializer if tensor.data_location != TensorProto.EXTERNAL]
    logits = graph.output[0]
    nodes: list[onnx.NodeProto] = []
    initializers = [*constants, *(constant(f"number_{value}", value) for value in range(1, count + 1))]
    initializers.append(constant("one", [1]))
    nodes += within("base_models", "number_1", f"number_{count}", f"base_models_must_be_from_1_to_{count}", "count")
    level = "adv_lambda"
    if dual:
        initializers += [constant("lowest", 0.0), constant("highest", 1.0)]
        nodes += within("adv_lambda", "lowest", "highest", "adv_lambda_must_be_from_0_to_1", "level")
        level = "level"
    total = ""
    for number in range(count):
        base_weights = []
        for tensor in weights:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            make_external(copy, f"b{number}.{tensor.name}", location(number, tensor.name))
            base_weights.append(copy)
        base_nodes = with_prefix(graph, f"b{number}.", {tensor.name for tensor in constants}, level)
        if not number:
            nodes += base_nodes
            initializers += base_weights
            total = "b0.logits"
            continue
        summed = f"sum_{number + 1}"
        base_nodes.append(helper.make_node("Add", [total, f"b{number}.logits"], [f"b{number}.sum"]))
        keep = helper.make_node("Identity", [total], [f"b{number}.kept"])
        # The weights stand inside the branch: there a runtime may lay them out for its convolutions.
        taken = helper.make_graph(
            base_nodes, f"with_{number}", [], [named_like(logits, f"b{number}.sum")], base_weights
        )
        skipped = helper.make_graph([keep], f"without_{number}", [], [named_like(logits, f"b{number}.kept")])
        nodes.append(helper.make_node("Greater", ["count", f"number_{number}"], [f"asked_{number}"]))
        nodes.append(helper.make_node("If", [f"asked_{number}"], [summed], then_branch=taken, else_branch=skipped))
        total = summed
    nodes += [
        helper.make_node("Cast", ["count"], ["divisor"], to=TensorProto.FLOAT),
        helper.make_node("Div", [total, "divisor"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    inputs = [graph.input[0], helper.make_tensor_value_info("base_models", TensorProto.INT64, [])]
    if dual:
        inputs.append(helper.make_tensor_value_info("adv_lambda", TensorProto.FLOAT, []))
    outputs = [named_like(logits, "logits"), named_like(logits, "probabilities")]
    built = helper.make_graph(nodes, "splitmix", inputs, outputs, initializers)
    return helper.make_model(
        built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="splitmix"
    )


def within(value: str, low: str, high: str, name: str, result: str) -> list[onnx.NodeProto]:
    """Nodes that pass a scalar on as `result`, and fail outside the limits: a scalar has one element, not two."""
    return [
        helper.make_node("GreaterOrEqual", [value, low], [f"{value}.not_below"]),
        helper.make_node("LessOrEqual", [value, high], [f"{value}.not_above"]),
        helper.make_node("And", [f"{value}.not_below", f"{value}.not_above"], [f"{value}.inside"]),
        helper.make_node("Not", [f"{value}.inside"], [f"{value}.outside"]),
        helper.make_node("Cast", [f"{value}.outside"], [f"{value}.excess"], to=TensorProto.INT64),
        helper.make_node("Add", [f"{value}.excess", "one"], [f"{value}.elements"]),
        helper.make_node("Reshape", [value, f"{value}.elements"], [f"{value}.checked"], name=name),
        helper.make_node("Squeeze", [f"{value}.checked"], [result]),
    ]


def named_like(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """The type and shape of another value under this name."""
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy


def with_prefix(graph: onnx.GraphProto, prefix: str, shared: set[str], level: str) -> list[onnx.NodeProto]:
    """Copies of a graph's nodes whose values are named with a prefix, but for shared constants and inputs.

    Args:
        level: the value that stands for the input `adv_lambda`.
    """
    outer = {"image": "image", "adv_lambda": level, "": "", **{name: name for name in shared}}
    nodes = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{node.output[0]}"
        for names in (copy.input, copy.output):
            for position, name in enumerate(names):
                names[position] = outer.get(name, f"{prefix}{name}")
        nodes.append(copy)
    return nodes
