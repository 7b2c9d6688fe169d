"""Exports a run in every format, with the answers of PyTorch beside; check.py runs it.

Arguments: run, folder, number of images, runtimes, widths and levels of the fixed models (empty: all).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import splitmix
from splitmix.bundle.bundle import write_bundle
from splitmix.bundle.check import TestImages, mixed_logits, torch_logits
from splitmix.bundle.deployed import deployed
from splitmix.bundle.fixed import SUFFIXES, fixed_model, write_fixed

FORMATS = {"onnxruntime": "onnx", "torch": "torch_export", "executorch": "executorch"}
"""The format of a fixed model that each runtime loads."""
QUICK = 100
"""Test images of an export's own check, which is not the one that counts here."""


def main(run_folder: str, out: str, images: str, runtimes: str, widths: str, levels: str) -> None:
    """Write files, positions.json, images.npy and expected.npz, where they are not there yet."""
    folder = Path(out)
    if (folder / "expected.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    run = splitmix.load(run_folder)
    test = TestImages(run, int(images))
    held = deployed(run, "train", "train")
    write_bundle(held, folder / "bundle", QUICK, lambda said: None)
    expected = {
        f"bundle@{count}:{width:g}:{level:g}": logits
        for level in held.levels
        for count, (width, logits) in enumerate(zip(run.widths, mixed_logits(held, level, test), strict=True), 1)
    }
    positions = [(count, width, level) for count, width in enumerate(run.widths, 1) for level in held.levels]
    chosen = [
        (count, width, level)
        for count, width, level in positions
        if (not widths or width in map(float, widths.split(",")))
        and (not levels or not held.dual or level in map(float, levels.split(",")))
    ]
    files = []
    for count, width, level in chosen:
        position = f"{count}:{width:g}:{level:g}"
        expected[f"fixed@{position}"] = torch_logits(fixed_model(run, width, level, "train"), test)
        for runtime in runtimes.split(","):
            if runtime in FORMATS:
                file = f"{width:g}_{level:g}{SUFFIXES[FORMATS[runtime]]}"
                write_fixed(
                    run, folder / file, FORMATS[runtime], width, level, "train", max_images=QUICK, say=lambda said: None
                )
                files.append([runtime, position, file])
        print(f"exported {position}", file=sys.stderr, flush=True)
    np.save(folder / "images.npy", np.concatenate([batch.numpy() for batch in test.batches()]))
    (folder / "positions.json").write_text(json.dumps({"dual": held.dual, "all": positions, "files": files}))
    np.savez(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
