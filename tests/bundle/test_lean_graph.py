"""An exported graph before and after it is made lean: the same values, from fewer nodes."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from splitmix.bundle.lean_graph import lean

GENERATOR = np.random.default_rng(3)
IMAGE = ["n", 4, 6, 6]
DIMENSION = [  # what the exporter makes of `x.shape[0]`, as a list of one number
    ("Shape", ["image"], "batch", {"start": 0, "end": 1}),
    ("Squeeze", ["batch"], "scalar", {}),
    ("Reshape", ["scalar", "any"], "listed", {}),
]
AT_LEVEL = [
    ("Mul", ["adv_lambda", "n.slope_change"], "moved_slope", {}),
    ("Add", ["n.slope", "moved_slope"], "slope", {}),
    ("Mul", ["adv_lambda", "n.offset_change"], "moved_offset", {}),
    ("Add", ["n.offset", "moved_offset"], "offset", {}),
    ("Mul", ["x", "slope"], "scaled", {}),
    ("Add", ["scaled", "offset"], "logits", {}),
]
NORMS = {"Reshape": 4, "Concat": 2, "Mul": 1, "Add": 1, "Split": 1}
"""What is left of `AT_LEVEL` but for its last two nodes."""
GRAPHS = {  # the nodes, and how many of which kind are left
    "a shape of the batch and constants": (
        [
            *DIMENSION,
            ("Concat", ["listed", "features"], "shape", {"axis": 0}),
            ("Reshape", ["image", "shape"], "logits", {}),
        ],
        {"Reshape": 1},
    ),
    "a shape of two computed entries": (
        [
            *DIMENSION,
            ("Shape", ["image"], "second", {"start": 1, "end": 2}),
            ("Concat", ["listed", "second", "any"], "shape", {"axis": 0}),
            ("Reshape", ["image", "shape"], "logits", {}),
        ],
        {"Shape": 2, "Squeeze": 1, "Reshape": 2, "Concat": 1},
    ),
    "a leading dimension, at the end": (
        [
            ("Relu", ["image"], "x", {}),
            ("Unsqueeze", ["x", "front"], "lanes", {}),
            ("Gather", ["lanes", "first"], "logits", {}),
        ],
        {"Relu": 1},
    ),
    "a leading dimension, in the middle": (
        [
            ("Unsqueeze", ["image", "front"], "lanes", {}),
            ("Gather", ["lanes", "first"], "x", {}),
            ("Relu", ["x"], "logits", {}),
        ],
        {"Relu": 1},
    ),
    "a leading dimension that is kept": (
        [("Unsqueeze", ["image", "front"], "lanes", {}), ("Gather", ["lanes", "front"], "logits", {})],
        {"Unsqueeze": 1, "Gather": 1},
    ),
    "the first of another dimension": (
        [("Unsqueeze", ["image", "front"], "lanes", {}), ("Gather", ["lanes", "first"], "logits", {"axis": 1})],
        {"Unsqueeze": 1, "Gather": 1},
    ),
    "pooling before ReLU": (
        [("MaxPool", ["image"], "x", {"kernel_shape": [2, 2]}), ("Relu", ["x"], "logits", {})],
        {"Relu": 1, "MaxPool": 1},
    ),
    "pooling that others read too": (
        [
            ("MaxPool", ["image"], "x", {"kernel_shape": [2, 2]}),
            ("Relu", ["x"], "y", {}),
            ("Sub", ["y", "x"], "logits", {}),
        ],
        {"MaxPool": 1, "Relu": 1, "Sub": 1},
    ),
    "a norm of features": (
        [("Conv", ["image", "kernel"], "x", {}), *AT_LEVEL],
        {"Conv": 1, **NORMS, "BatchNormalization": 1},
    ),
    "a norm of units": (
        [("Flatten", ["image"], "flat", {}), ("Gemm", ["flat", "matrix"], "x", {}), *AT_LEVEL],
        {"Flatten": 1, "Gemm": 1, **NORMS, "BatchNormalization": 1},
    ),
    "a norm of tokens": (
        [("MatMul", ["image", "square"], "x", {}), *AT_LEVEL],
        {"MatMul": 1, **NORMS, "Reshape": 6, "Mul": 2, "Add": 2},
    ),
}
RANKS = {
    "a leading dimension that is kept": 5,
    "a shape of the batch and constants": 2,
    "a shape of two computed entries": 3,
    "a norm of units": 2,
}


def graph_of(nodes, entries, rank=4):
    made = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in nodes]
    made.append(
        helper.make_node("Identity", [made[0].output[0]], ["nobody_reads_this"], doc_string="from a line of code")
    )
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, IMAGE)]
    inputs.append(helper.make_tensor_value_info("adv_lambda", TensorProto.FLOAT, []))
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None] * rank)]
    numbers = {"any": [-1], "features": [144], "front": [0], "first": 0}
    values = {name: np.array(value, np.int64) for name, value in numbers.items()}
    values |= {name: GENERATOR.random(shape, np.float32) - 0.3 for name, shape in entries.items()}
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    return helper.make_graph(made, "test", inputs, outputs, tensors)


def answer(graph, images):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"image": images, "adv_lambda": np.array(0.35, np.float32)})[0]


def kinds(graph):
    return dict(Counter(node.op_type for node in graph.node))


def check_lean(graph, expected):
    copied = onnx.GraphProto()
    copied.CopyFrom(graph)
    less = lean(copied)
    assert kinds(less) == expected
    for count in (1, 5):
        images = GENERATOR.normal(size=(count, *IMAGE[1:])).astype(np.float32)
        np.testing.assert_allclose(answer(less, images), answer(graph, images), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", GRAPHS)
def test_a_lean_graph_computes_the_same_from_fewer_nodes(case):
    nodes, expected = GRAPHS[case]
    shape = (3, 1, 1) if case == "a norm of features" else (6,)
    entries = {f"n.{name}{end}": shape for name in ("slope", "offset") for end in ("", "_change")}
    weights = {"kernel": (3, 4, 3, 3), "matrix": (144, 6), "square": (6, 6), **entries}
    check_lean(graph_of(nodes, weights, RANKS.get(case, 4)), expected)


def test_relu_follows_the_convolution_at_once_when_nobody_else_reads_the_pooled_features():
    nodes, _ = GRAPHS["pooling before ReLU"]
    assert [node.op_type for node in lean(graph_of(nodes, {})).node] == ["Relu", "MaxPool"]
