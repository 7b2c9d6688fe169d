"""Writes a bundle: model.onnx with two dials, the parts that it refers to, the manifest, and the model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
from safetensors.torch import save

import splitmix
from splitmix.bundle.card import model_card
from splitmix.bundle.check import Checked, TestImages, check_dials
from splitmix.bundle.deployed import Deployed
from splitmix.bundle.files import new_folder
from splitmix.bundle.graph import Place, base_graph, dial_graph, part_tensors
from splitmix.evaluation.cost import cost
from splitmix.models.fixed_norms import fixed_tensors
from splitmix.runs.results import versions
from splitmix.runs.results_file import LACKED
from splitmix.runtime.manifest import GRAPH, MANIFEST, MODEL, SCHEMA, read_manifest, sha256
from splitmix.runtime.parts import header

NOT_OF_THE_TRAINING = ("engine", "logger", "resume", "trust", "name")
LOCAL_PATHS = ("root", "split_root")
"""Keys of a dataset that say where files lie on the machine that trained."""


def write_bundle(
    deployed: Deployed, out: Path, max_images: int | None, say: Callable[[str], None], license: str | None = None
) -> dict[str, Any]:
    """Write a bundle, check it against PyTorch, and put it in its place.

    Args:
        max_images: test images to check with; None means all.
        say: told what takes a while.
        license: as SPDX writes it; None where it is unknown.

    Returns:
        The manifest.

    Raises:
        UserError: a network that cannot be exported, or a result that differs from PyTorch's.
    """
    run, test = deployed.run, TestImages(deployed.run, max_images)
    with new_folder(out) as folder:
        (folder / "parts").mkdir()
        tensors = fixed_tensors(deployed.spec, deployed.tensors)
        files = [f"parts/b{number}.safetensors" for number in range(len(run.widths))]
        for number, file in enumerate(files):
            (folder / file).write_bytes(save(part_tensors(deployed.spec, tensors, number)))
        places = [places_in(folder / file, file) for file in files]
        say("exporting to ONNX")
        base = base_graph(deployed.spec, tensors, lambda name: places[0][name])
        (folder / GRAPH).write_bytes(base.SerializeToString())
        dials = dial_graph(base, len(files), lambda number, name: places[number][name])
        (folder / MODEL).write_bytes(dials.SerializeToString())
        onnx.checker.check_model(str(folder / MODEL), full_check=True)
        say(f"running {MODEL} on {len(test)} test images, at every width and level of robustness")
        checked = check_dials(deployed, folder / MODEL, test)
        values = {**manifest_of(deployed, folder, files, checked), "license": license}
        (folder / MANIFEST).write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        read_manifest(folder)
        (folder / "README.md").write_text(model_card(values), encoding="utf-8")
    return values


def places_in(path: Path, file: str) -> Mapping[str, Place]:
    """Where the tensors of a safetensors file lie: the file's name in the bundle, offset, length."""
    entries, start = header(path.read_bytes())
    offsets = {name: entry["data_offsets"] for name, entry in entries.items()}
    return {name: (file, start + low, high - low) for name, (low, high) in offsets.items()}


def manifest_of(deployed: Deployed, folder: Path, files: list[str], checked: list[Checked]) -> dict[str, Any]:
    """What manifest.json says."""
    run = deployed.run
    parts: list[dict[str, Any]] = []
    costs: list[dict[str, float]] = []
    size = 0
    for width, file in zip(run.widths, files, strict=True):
        content = (folder / file).read_bytes()
        size += len(content)
        macs, params = cost(run.method, run.state, width)
        costs.append({"width": width, "macs": macs, "params": params, "bytes": size})
        parts.append({"base_model": len(parts), "file": file, "bytes": len(content), "sha256": sha256(content)})
    return {
        "schema": SCHEMA,
        "splitmix": splitmix.__version__,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "method": run.config.algorithm.label,
        "model": run.config.model.name,
        "dataset": run.config.dataset.name,
        "domains": list(run.domains),
        "classes": list(run.classes),
        "input_shape": list(run.input_shape),
        "resize": hasattr(run.config.dataset, "image_size"),
        "dual": deployed.dual,
        "adv_lambdas": list(deployed.levels),
        "atom_width": run.widths[0],
        "widths": list(run.widths),
        "order": list(range(len(files))),
        "parts": parts,
        "graph": file_entry(folder / GRAPH),
        "onnx": file_entry(folder / MODEL),
        "costs": costs,
        "statistics": deployed.statistics,
        "exported": [asdict(one) for one in checked],
        "tests": [shown_test(test) for test in run.results["tests"] if is_of(test, run.checkpoint)],
        "run": {key: run.results.get(key) for key in ("seed", "rounds", "best_round", "config_hash", "git", "started")},
        "checkpoint": run.checkpoint,
        "round": run.state.round,
        "training": training_config(run.settings),
        "versions": {"trained": run.results.get("versions", {}), "exported": versions()},
    }


def file_entry(path: Path) -> dict[str, Any]:
    """Name, size and checksum of a file of the bundle."""
    content = path.read_bytes()
    return {"file": path.name, "bytes": len(content), "sha256": sha256(content)}


def is_of(test: Mapping[str, Any], checkpoint: str) -> bool:
    """Whether a test record speaks of this checkpoint, and of the mean that a bundle takes over base models."""
    return test["checkpoint"] == checkpoint and {**LACKED, **test}["mix"] == LACKED["mix"]


def shown_test(test: Mapping[str, Any]) -> dict[str, Any]:
    """What a test record of results.json says of accuracy, without the single clients."""
    keys = ("width", "adv_lambda", "attack", "bn", "sort_base_models", "n_images", "accuracy", "accuracy_fixed")
    return {key: test[key] for key in keys if key in test}


def training_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The training config without what is of one machine alone."""
    kept = {key: value for key, value in settings.items() if key not in NOT_OF_THE_TRAINING}
    data = kept["dataset"]
    kept["dataset"] = {key: None if key in LOCAL_PATHS else value for key, value in data.items()}
    return kept
