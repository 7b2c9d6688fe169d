"""What one runtime answers to exported files; imports nothing but that runtime and NumPy. check.py runs it.

Arguments: runtime, folder of make.py. Writes <runtime>.npz and prints the packages of this environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ABSENT = {
    "splitmix.runtime": ("torch", "onnx", "hydra", "PIL"),
    "onnxruntime": ("torch", "onnx", "splitmix"),
    "torch": ("onnxruntime", "executorch", "splitmix"),
    "executorch": ("onnxruntime", "splitmix"),
}
"""What must not be there, so that nothing helps."""
SHOWN = ("numpy", "onnxruntime", "torch", "executorch", "splitmix")
BATCH = 128


def main(name: str, folder: Path) -> None:
    """Run every file on all images."""
    for module in ABSENT[name]:
        assert find_spec(module) is None, f"{module} is installed: this environment proves nothing"
    images, known = np.load(folder / "images.npy"), json.loads((folder / "positions.json").read_text())
    np.savez(folder / f"{name}.npz", **dict(ANSWERS[name](folder, images, known)))
    installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
    print(json.dumps([f"{package} {installed[package]}" for package in SHOWN if package in installed]))


def by_runtime(folder: Path, images: np.ndarray[Any, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of the bundle, by `splitmix.runtime`."""
    from splitmix import runtime

    model = runtime.load(folder / "bundle")
    for count, width, level in known["all"]:
        model.set(width=width, adv_lambda=level)
        logits = in_batches(images, lambda batch, count=count: model.mixed_logits(batch, count))
        yield f"parts/@{count}:{width:g}:{level:g}", logits


def by_onnxruntime(folder: Path, images: np.ndarray[Any, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """model.onnx at every position of its dials, and fixed models."""
    import onnxruntime

    def session(path: Path) -> Any:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    dials = session(folder / "bundle" / "model.onnx")
    for count, width, level in known["all"]:
        inputs = {"base_models": np.array(count)} | (
            {"adv_lambda": np.array(level, np.float32)} if known["dual"] else {}
        )
        logits = in_batches(images, lambda batch, inputs=inputs: dials.run(["logits"], {"image": batch, **inputs})[0])
        yield f"model.onnx@{count}:{width:g}:{level:g}", logits
    for position, file in files_of(known, "onnxruntime"):
        fixed = session(folder / file)
        logits = in_batches(images, lambda batch, fixed=fixed: fixed.run(["logits"], {"image": batch})[0])
        yield f"fixed .onnx@{position}", logits


def by_torch(folder: Path, images: np.ndarray[Any, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fixed models of torch.export."""
    import torch

    for position, file in files_of(known, "torch"):
        module = torch.export.load(folder / file).module()
        with torch.no_grad():
            logits = in_batches(images, lambda batch, module=module: module(torch.from_numpy(batch)).numpy())
        yield f"fixed .pt2@{position}", logits


def by_executorch(folder: Path, images: np.ndarray[Any, Any], known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fixed models of ExecuTorch, image by image."""
    import torch
    from executorch.runtime import Runtime

    for position, file in files_of(known, "executorch"):
        content = (folder / file).read_bytes()
        program = Runtime.get().load_program(content)
        method = program.load_method("forward")  # which reads from both of them
        answers = [method.execute([torch.from_numpy(image[None])])[0].numpy().copy() for image in images]
        yield f"fixed .pte@{position}", np.concatenate(answers)


ANSWERS: dict[str, Callable[[Path, np.ndarray[Any, Any], dict[str, Any]], Iterator[tuple[str, Any]]]] = {
    "splitmix.runtime": by_runtime,
    "onnxruntime": by_onnxruntime,
    "torch": by_torch,
    "executorch": by_executorch,
}


def files_of(known: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Position and name of the files that a runtime loads."""
    return [(position, file) for runtime, position, file in known["files"] if runtime == name]


def in_batches(images: np.ndarray[Any, Any], function: Callable[[Any], Any]) -> Any:
    """Logits of all images; the last batch is smaller than the others."""
    return np.concatenate([function(images[low : low + BATCH]) for low in range(0, len(images), BATCH)])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
