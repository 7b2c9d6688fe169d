"""One fixed model in a runtime's own file: ONNX (float32 or int8), torch.export or ExecuTorch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitmix.bundle.check import TestImages, refuse_difference, relative_difference, run_all, session, torch_logits
from splitmix.bundle.files import new_file
from splitmix.bundle.graph import OPSET
from splitmix.data.dataset import to_float
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import keeps_statistics
from splitmix.evaluation.statistics import calibration_batches
from splitmix.runs.loaded import Calibration, LoadedRun
from splitmix.runtime.images import Array

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "executorch": ".pte"}
"""Formats of a fixed model, and how their files end."""


@dataclass(frozen=True)
class Fixed:
    """What was written.

    Attributes:
        sa: accuracy of the file on the test images, run by its own runtime (mean over clients).
        images: how many.
        difference: largest difference to PyTorch (see `relative_difference`); None after quantisation.
        sa_float: accuracy before quantisation; None without.
        bytes: size of the file.
    """

    sa: float
    images: int
    difference: float | None
    sa_float: float | None
    bytes: int


class WithProbabilities(nn.Module):
    """A model that also gives the probabilities of its logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(image)
        return logits, logits.softmax(-1)


def fixed_model(run: LoadedRun, width: float, adv_lambda: float, calibration: Calibration) -> nn.Module:
    """The customised model whose statistics are fixed: those of the training, or estimated where there are none."""
    needed = not keeps_statistics(run.method) or bool(run.state.clients)
    model = run.customize(width, adv_lambda, calibration=calibration if needed else None)
    return model.requires_grad_(False)  # ExecuTorch computes with the weights while it lowers them


def write_fixed(
    run: LoadedRun,
    out: Path,
    format: str,
    width: float,
    adv_lambda: float,
    calibration: Calibration,
    *,
    int8: bool = False,
    max_drop: float = 2.0,
    max_images: int | None = None,
    say: Callable[[str], None] = print,
) -> Fixed:
    """Write the model of a width and a level, after its own runtime has run it on the test images.

    Args:
        format: a key of `SUFFIXES`.
        int8: quantise it on the calibration images (format onnx).
        max_drop: percentage points that quantisation may cost.
        max_images: test images to check with; None means all.

    Raises:
        UserError: a network that the format cannot hold, a result that differs from PyTorch's, too large a drop.
    """
    model, test = fixed_model(run, width, adv_lambda, calibration), TestImages(run, max_images)
    expected = torch_logits(model, test)
    example = torch.rand(2, *run.input_shape)
    with new_file(out) as path:
        say(f"exporting ×{width:g} to {format}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                WRITERS[format](model, example, path)
        except Exception as error:  # whatever the exporter meets in a network
            text = " ".join(str(error).split())[:200]
            raise UserError(
                f"format={format}: it cannot hold this model ({type(error).__name__}: {text}); try another format"
            ) from error
        logits = run_all(RUNNERS[format](path), test)
        difference = relative_difference(logits, expected)
        refuse_difference(difference, f"format={format} width={width:g}")
        sa = test.accuracy(logits)
        if not int8:
            return Fixed(sa, len(test), difference, None, path.stat().st_size)
        say("quantising to int8")
        quantise(path, run.calibration_images(calibration))
        after = test.accuracy(run_all(run_onnx(path), test))
        if 100 * (sa - after) > max_drop:
            raise UserError(
                f"quantize=int8: accuracy falls from {100 * sa:.1f} % to {100 * after:.1f} %, by more than"
                f" max_drop={max_drop:g} points; raise max_drop, or quantize=none"
            )
        return Fixed(after, len(test), None, sa, path.stat().st_size)


def write_onnx(model: nn.Module, example: Tensor, path: Path) -> None:
    program = torch.onnx.export(
        WithProbabilities(model).eval(), (example,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},),
        input_names=["image"], output_names=["logits", "probabilities"], opset_version=OPSET, verbose=False,
    )  # fmt: skip
    assert program is not None
    program.save(str(path), external_data=False)


def write_torch_export(model: nn.Module, example: Tensor, path: Path) -> None:
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, path)


def write_executorch(model: nn.Module, example: Tensor, path: Path) -> None:
    """For one image at a time, with the kernels of XNNPACK."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(model, (example[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)


def run_onnx(path: Path) -> Callable[[Array], Array]:
    """The logits of an ONNX file, by onnxruntime."""
    running = session(path)
    return lambda images: running.run(["logits"], {"image": images})[0]


def run_torch_export(path: Path) -> Callable[[Array], Array]:
    """The logits of a .pt2 file, by PyTorch."""
    module: Any = torch.export.load(path).module()

    def logits(images: Array) -> Array:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(images)).numpy())

    return logits


def run_executorch(path: Path) -> Callable[[Array], Array]:
    """The logits of a .pte file, by ExecuTorch, image by image."""
    from executorch.runtime import Runtime

    content = path.read_bytes()
    program = Runtime.get().load_program(content)
    method = program.load_method("forward")

    def logits(images: Array, read_from: tuple[Any, ...] = (content, program)) -> Array:
        # The method reads from both, and does not keep them: without them the process ends in a segmentation fault.
        one_by_one = torch.from_numpy(images).split(1)
        return np.concatenate([method.execute([image.contiguous()])[0].numpy().copy() for image in one_by_one])

    return logits


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path], None]] = {
    "onnx": write_onnx,
    "torch_export": write_torch_export,
    "executorch": write_executorch,
}
RUNNERS: dict[str, Callable[[Path], Callable[[Array], Array]]] = {
    "onnx": run_onnx,
    "torch_export": run_torch_export,
    "executorch": run_executorch,
}


def quantise(path: Path, images: Tensor | None) -> None:
    """Replace an ONNX file by its int8 form: onnxruntime's static quantisation, weights per channel.

    Args:
        images: calibration images, from which the ranges of activations are taken.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert images is not None
    batches = iter([to_float(batch).contiguous().numpy() for batch in calibration_batches(images)])

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, Array] | None:
            batch = next(batches, None)
            return None if batch is None else {"image": batch}

    prepared, small = path.with_suffix(".prepared.onnx"), path.with_suffix(".int8.onnx")
    silent = logging.root.manager.disable
    logging.disable(logging.WARNING)  # onnxruntime's, of weights with one dimension
    try:
        quant_pre_process(str(path), str(prepared))
        quantize_static(
            str(prepared), str(small), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        os.replace(small, path)
    finally:
        logging.disable(silent)
        prepared.unlink(missing_ok=True)
        small.unlink(missing_ok=True)
