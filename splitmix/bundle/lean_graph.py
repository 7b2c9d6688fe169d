"""Rewrites of a base model's exported graph: the same values from fewer nodes.

A pass of one image is so short that starting a node costs as much as what the node computes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper


def lean(graph: onnx.GraphProto) -> onnx.GraphProto:
    """A graph of the same inputs and outputs that computes the same.

    - What only tells where nodes came from is left out, and so is what nobody reads.
    - A shape that is put together from the number of images and constants is -1 and these constants.
    - A leading dimension that is added and taken away again is neither.
    - ReLU stands before max-pooling, which commutes with it: a runtime then makes one node of convolution and ReLU.
    - The norms' slopes and offsets at the level of robustness are computed in one go.
    """
    outputs = {value.name for value in graph.output}
    nodes = needed_nodes([plain(node) for node in graph.node], outputs)
    initializers = list(graph.initializer)
    fixed_shapes(nodes, initializers)
    kept_dimensions(nodes, initializers, graph.output[0].name)
    relu_first(nodes)
    nodes = needed_nodes(norms_in_one_go(nodes, initializers), outputs)
    used = set[str]().union(*map(inputs_of, nodes))
    initializers = [tensor for tensor in initializers if tensor.name in used]
    return helper.make_graph(nodes, "base_model", list(graph.input), list(graph.output), initializers)


def plain(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node without its name and what else the exporter tells about it."""
    copy = helper.make_node(node.op_type, node.input, node.output, domain=node.domain)
    copy.attribute.extend(node.attribute)
    return copy


def needed_nodes(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes on which the graph's outputs depend, in order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= inputs_of(node)
    return kept[::-1]


def inputs_of(node: onnx.NodeProto) -> set[str]:
    """What a node reads, in its branches too."""
    inside = (inner for part in node.attribute for inner in part.g.node)
    return set(node.input).union(*map(inputs_of, inside))


def makers(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    """The node that makes each value."""
    return {name: node for node in nodes for name in node.output}


def readers(nodes: Iterable[onnx.NodeProto], value: str) -> list[onnx.NodeProto]:
    return [node for node in nodes if value in node.input]


def constants(nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]) -> dict[str, Any]:
    """The constants that lie in the graph itself, as lists or single numbers, by name."""
    values = {tensor.name: tensor for tensor in initializers if tensor.data_location != onnx.TensorProto.EXTERNAL}
    values |= {
        node.output[0]: helper.get_attribute_value(node.attribute[0]) for node in nodes if node.op_type == "Constant"
    }
    return {
        name: numpy_helper.to_array(value).tolist() if isinstance(value, onnx.TensorProto) else value
        for name, value in values.items()
    }


def fixed_shapes(nodes: Sequence[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> None:
    """Let a `Reshape` whose shape has one computed entry find that entry itself, in place."""
    maker_of, numbers = makers(nodes), constants(nodes, initializers)
    for node in nodes:
        shape = maker_of.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.op_type != "Concat":
            continue
        entries: list[list[int] | None] = [numbers.get(name) for name in shape.input]
        computed = [name for name, entry in zip(shape.input, entries, strict=True) if entry is None]
        # A computed entry is one number if it is a scalar put into a list of one.
        if len(computed) == 1 and is_one_number(maker_of.get(computed[0]), numbers):
            values = [value for entry in entries for value in (entry or [-1])]
            if min(value for entry in entries for value in (entry or [1])) > 0:
                initializers.append(constant(f"{node.output[0]}.shape", values))
                node.input[1] = f"{node.output[0]}.shape"


def is_one_number(node: onnx.NodeProto | None, numbers: dict[str, Any]) -> bool:
    """Whether a node makes a list of one number."""
    return node is not None and node.op_type == "Reshape" and numbers.get(node.input[1]) in ([-1], [1])


def kept_dimensions(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], output: str) -> None:
    """Leave out an `Unsqueeze` at the front whose only entry is then taken again, in place."""
    maker_of, numbers = makers(nodes), constants(nodes, initializers)
    for node in nodes:
        if node.op_type != "Gather" or numbers.get(node.input[1]) != 0 or axis_of(node) != 0:
            continue
        before = maker_of.get(node.input[0])
        if before is None or before.op_type != "Unsqueeze" or numbers.get(before.input[1]) != [0]:
            continue
        taken = node.output[0]
        node.output[0] = f"{taken}.unused"
        if taken != output:
            read_instead(nodes, taken, before.input[0])
        elif before.input[0] in maker_of:  # the graph's output keeps its name
            maker = maker_of[before.input[0]]
            maker.output[list(maker.output).index(before.input[0])] = taken
            read_instead(nodes, before.input[0], taken)


def axis_of(node: onnx.NodeProto) -> int:
    return next((part.i for part in node.attribute if part.name == "axis"), 0)


def read_instead(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    """Let all nodes read another value."""
    for node in nodes:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def relu_first(nodes: list[onnx.NodeProto]) -> None:
    """Exchange max-pooling and the ReLU that alone reads it, in place."""
    for pool in [node for node in nodes if node.op_type == "MaxPool"]:
        after = readers(nodes, pool.output[0])
        if len(after) == 1 and after[0].op_type == "Relu":
            [features], [pooled], [result] = pool.input, pool.output, after[0].output
            first, second = nodes.index(pool), nodes.index(after[0])
            nodes[first] = helper.make_node("Relu", [features], [pooled])
            pool.input[0], pool.output[0] = pooled, result
            nodes[second] = pool


def norms_in_one_go(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """The nodes with `entry + level * entry_change` of all norms of two branches computed by one `Mul` and one `Add`.

    What puts the entries in a row depends on weights alone: a runtime computes it once, when it loads the graph.
    """
    shapes = {tensor.name: list(tensor.dims) for tensor in initializers}
    entries, levels = entries_at_level(nodes, shapes)
    if len(levels) != 1:
        return nodes
    sizes = [shapes[entry][0] for entry in entries.values()]
    initializers += [constant("norms.sizes", sizes), constant("norms.any", [-1])]
    first, in_shape = [], []
    for end in ("", "_change"):
        rows = [f"{entry}{end}" for entry in entries.values()]
        first += [helper.make_node("Reshape", [row, "norms.any"], [f"{row}.flat"]) for row in rows]
        first.append(helper.make_node("Concat", [f"{row}.flat" for row in rows], [f"norms{end}"], axis=0))
    for value, entry in entries.items():
        initializers.append(constant(f"{value}.shape", shapes[entry]))
        in_shape.append(helper.make_node("Reshape", [f"{value}.flat", f"{value}.shape"], [value]))
    first += [
        helper.make_node("Mul", [*levels, "norms_change"], ["norms.moved"]),
        helper.make_node("Add", ["norms", "norms.moved"], ["norms.at_level"]),
        helper.make_node("Split", ["norms.at_level", "norms.sizes"], [f"{value}.flat" for value in entries], axis=0),
    ]
    nodes = first + in_shape + [node for node in nodes if node.output[0] not in entries]
    batch_normalised(nodes, initializers, {value: shapes[entry] for value, entry in entries.items()})
    return nodes


def entries_at_level(nodes: list[onnx.NodeProto], shapes: Container[str]) -> tuple[dict[str, str], set[str]]:
    """Which values are `entry + level * entry_change`, by value the entry; and the names of the levels."""
    maker_of, entries, levels = makers(nodes), {}, set()
    for node in nodes:
        for entry, moved in (node.input, node.input[::-1]) if node.op_type == "Add" else ():
            product, change = maker_of.get(moved), f"{entry}_change"
            if entry in shapes and product is not None and product.op_type == "Mul" and change in product.input:
                entries[node.output[0]] = entry
                levels |= set(product.input) - {change}
    return entries, levels


def batch_normalised(
    nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], shapes: dict[str, list[int]]
) -> None:
    """Let one `BatchNormalization` of mean 0 and variance 1 stand for each `x * slope + offset`, in place.

    Tokens, whose channels do not stand second, are left alone.

    Args:
        shapes: of slopes and offsets, by name; `<name>.flat` is the same as a list.
    """
    maker_of, fixed = makers(nodes), dict[str, np.ndarray[Any, Any]]()
    for position, node in enumerate(nodes):
        product = maker_of.get(node.input[0]) if node.op_type == "Add" else None
        if product is None or product.op_type != "Mul" or not {product.input[1], node.input[1]} <= set(shapes):
            continue
        features, slope = product.input
        linear = features in maker_of and maker_of[features].op_type == "Gemm"
        if len(shapes[slope]) == 1 and not linear:
            continue
        size = shapes[slope][0]
        mean_and_variance = {f"norms.zeros_{size}": np.zeros(size), f"norms.ones_{size}": np.ones(size)}
        fixed |= mean_and_variance
        values = [features, f"{slope}.flat", f"{node.input[1]}.flat", *mean_and_variance]
        nodes[position] = helper.make_node("BatchNormalization", values, node.output, epsilon=0.0)
    initializers += [constant(name, value) for name, value in fixed.items()]


def constant(name: str, value: ArrayLike) -> onnx.TensorProto:
    """A constant of this shape: int64 for whole numbers, else float32."""
    array = np.asarray(value)
    return numpy_helper.from_array(array.astype(np.int64 if array.dtype.kind == "i" else np.float32), name)
