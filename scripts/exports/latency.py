"""One image through the full mix of a bundle, beside what it replaces; prints a table.

    python scripts/exports/latency.py my_bundle other_bundle

On one thread, batch of one, all contenders in turns: model.onnx in onnxruntime; the same base models one after the
other as ordinary modules in PyTorch; the single network of full width (untrained, its normalisation folded to slope and
offset) in onnxruntime. Medians of single passes: CPU time, which other work on the machine disturbs less, and time by
the clock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import onnx
import torch
from safetensors.torch import save

from splitmix.bundle.bundle import places_in
from splitmix.bundle.check import session
from splitmix.bundle.elastic import ElasticModel, spec_of
from splitmix.bundle.graph import base_graph, one_base_model, part_tensors
from splitmix.models.fixed_norms import fixed_tensors, set_level

LEVEL = 0.35
"""Level of robustness after dual batch normalisation: neither end, so that nothing can be left out."""


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("bundles", nargs="+", type=Path)
    options.add_argument("--passes", type=int, default=300)
    given = options.parse_args()
    torch.set_num_threads(1)
    print("| bundle | contender | CPU time (ms) | clock (ms) | × the mix (CPU time) |\n|---|---|---|---|---|")
    for bundle in given.bundles:
        with tempfile.TemporaryDirectory() as temporary:
            measure(bundle, contenders(bundle, Path(temporary)), given.passes)
    return 0


def contenders(bundle: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each call is one pass of one image."""
    model = ElasticModel.from_pretrained(bundle)
    manifest = model.manifest
    image = np.random.default_rng(0).random((1, *manifest.input_shape), np.float32)
    inputs = {"image": image, "base_models": np.array(model.held)}
    if manifest.dual:
        inputs["adv_lambda"] = np.array(LEVEL, np.float32)
    mix = session(bundle / "model.onnx", threads=1)
    modules = [
        one_base_model(spec_of(manifest, ()), {key: value[number : number + 1] for key, value in lanes.items()})
        for lanes in [model.network.lane_tensors()]
        for number in range(model.held)
    ]
    for module in modules:
        set_level(module.network, LEVEL if manifest.dual else 0.0)
    tensor = torch.from_numpy(image)

    def loop() -> object:
        with torch.inference_mode():
            return torch.stack([module.network(tensor)[0] for module in modules]).mean(0)

    full = session(full_width(model, folder), threads=1)
    return {
        "×1 mix, model.onnx": lambda: mix.run(["logits"], inputs),
        "loop over base models, PyTorch": loop,
        "one network of full width, onnxruntime": lambda: full.run(["logits"], {"image": image}),
    }


def full_width(model: ElasticModel, folder: Path) -> Path:
    """An ONNX file of one network of width 1 with plain normalisation."""
    spec = replace(spec_of(model.manifest, ()), width=1.0, norm="plain")
    tensors = fixed_tensors(spec, spec.build(1).lane_tensors())
    part = folder / "full.safetensors"
    part.write_bytes(save(part_tensors(spec, tensors, 0)))
    places = places_in(part, part.name)
    graph = base_graph(spec, tensors, lambda name: places[name])
    onnx.save(graph, folder / "full.onnx")
    return folder / "full.onnx"


def measure(bundle: Path, functions: dict[str, Callable[[], object]], passes: int) -> None:
    """Time all contenders in turns and print a row for each."""
    used: dict[str, list[float]] = {name: [] for name in functions}
    waited: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(passes + 10):
        for name, function in functions.items():
            start, work = perf_counter(), process_time()
            function()
            if turn >= 10:  # what comes first also warms up
                used[name].append(1e3 * (process_time() - work))
                waited[name].append(1e3 * (perf_counter() - start))
    [first, *_] = map(median, used.values())
    for name in functions:
        cpu = median(used[name])
        print(f"| {bundle.name} | {name} | {cpu:.2f} | {median(waited[name]):.2f} | {cpu / first:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
