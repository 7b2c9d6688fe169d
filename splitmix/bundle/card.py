"""The model card of a bundle: README.md with the header that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADER = """---
{license}
library_name: splitmix
pipeline_tag: image-classification
tags: [federated-learning, split-mix, onnx, {tags}]
---
"""

HUB_LICENSES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "gpl-2.0", "gpl-3.0", "isc",
    "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "ofl-1.1", "osl-3.0", "postgresql", "unlicense",
    "wtfpl", "zlib",
)  # fmt: skip
"""Licences that Hugging Face knows by name, in its lower case."""

USE = """## Use

```python
import splitmix

model = splitmix.ElasticModel.from_pretrained(".")      # this folder, or its name on the Hub
model.set(width={width:g}{level})
print(model.predict(image).name)                        # PIL, NumPy or tensor of {shape}
```

Without PyTorch: `splitmix.runtime.load(".")`, which needs numpy and onnxruntime alone. In any runtime of ONNX:
`model.onnx`, inputs `image` (float in [0, 1], `[n, {shape}]`), `base_models` (int64, 1 to {count}){level_input};
outputs `logits` and `probabilities`. A number of base models that is not held is an error, not a wrong answer.
`model.onnx` refers to `parts/`, where the weights lie once: keep both together. A narrower model needs only the first
parts; `splitmix.runtime` and `ElasticModel` work with those that are present.
"""

LIMITS = """## What λ does not buy

λ mixes two branches of batch normalisation, one that saw clean and one that saw attacked images in training. All
other weights are shared, so λ moves accuracy on clean images against accuracy on attacked ones within what one training
found; it adds no robustness that the training did not. RA is accuracy under the named attack at the named size alone: a
stronger attack, a larger perturbation, or another kind of change (noise, weather, another camera) was not measured. RA
was measured in PyTorch on the run, not on these files, whose logits equal PyTorch's up to the difference given above.
"""


def model_card(manifest: Mapping[str, Any]) -> str:
    """README.md of a bundle with this manifest."""
    dual, count = manifest["dual"], len(manifest["parts"])
    tags = ", ".join([manifest["dataset"], manifest["model"]])
    shape = ", ".join(map(str, manifest["input_shape"]))
    run, exported = manifest["run"], manifest["exported"]
    worst = max(one["difference"] for one in exported)
    level, level_input = (", adv_lambda=0.2", ", `adv_lambda` (float, 0 to 1)") if dual else ("", "")
    parts = [
        HEADER.format(license=license_lines(manifest["license"]), tags=tags),
        f"# {manifest['method']} on {manifest['dataset']}: one model, {count} widths{', any robustness' * dual}\n",
        f"{count} base models of width {manifest['atom_width']:g} of {manifest['model']}; the model of a width is the"
        " mean of the logits of so many of them (Hong et al., ICLR 2022, arXiv 2203.09747)."
        f" {len(manifest['classes'])} classes: {', '.join(manifest['classes'])}.\n",
        "## Accuracy and cost\n",
        f"SA of `model.onnx`, run by onnxruntime on {exported[0]['images']} test images (mean over clients); its logits"
        f" differ from PyTorch's by at most {worst:.1g} (relative to the largest logit where that is above 1).\n",
        accuracy_table(manifest),
        f"Batch-normalisation statistics: {manifest['statistics']}.\n",
        robust_table(manifest),
        license_text(manifest["license"]),
        "## Data and training\n",
        f"Dataset {manifest['dataset']} ({', '.join(manifest['domains'])}), federated over"
        f" {manifest['training']['clients_per_domain']} clients per domain, {manifest['round']} rounds"
        f" ({manifest['checkpoint']} checkpoint), seed {run['seed']}. The whole configuration, the versions and the"
        f" commit are in `manifest.json`.\n",
        USE.format(
            width=manifest["widths"][count // 2], level=level, shape=shape, count=count, level_input=level_input
        ),
        *([LIMITS] if dual else []),
    ]
    return "\n".join(part for part in parts if part)


def license_lines(license: str | None) -> str:
    """The licence in the header: Hugging Face has names of its own, and takes any other as `other` with its name."""
    if license is None:
        return "license: unknown"
    known = license.lower()
    return f"license: {known}" if known in HUB_LICENSES else f"license: other\nlicense_name: {license}"


def license_text(license: str | None) -> str:
    """The licence in words."""
    said = f"{license}." if license else "Unknown: whoever made this bundle named none (`license=`). Ask them first."
    return f"## Licence\n\n{said}\n"


def accuracy_table(manifest: Mapping[str, Any]) -> str:
    """A row per width: SA per level of robustness, then what it costs."""
    levels = manifest["adv_lambdas"]
    by_position = {(one["width"], one["adv_lambda"]): one["sa"] for one in manifest["exported"]}
    names = [f"SA, λ = {level:g}" for level in levels] if manifest["dual"] else ["SA"]
    rows = [
        [
            f"×{cost['width']:g}",
            *(f"{100 * by_position[cost['width'], level]:.1f} %" for level in levels),
            f"{cost['macs'] / 1e6:.2f} M",
            f"{cost['params'] / 1e3:.0f} k",
            f"{cost['bytes'] / 1e6:.2f} MB",
        ]
        for cost in manifest["costs"]
    ]
    return table(["width", *names, "MACs", "parameters", "download"], rows)


def robust_table(manifest: Mapping[str, Any]) -> str:
    """RA of the run under every attack that it was tested with; nothing if there was none."""
    tests = [test for test in manifest["tests"] if test["attack"]["name"] != "none" and not test["sort_base_models"]]
    texts = []
    for attack in {str(sorted(test["attack"].items())): test["attack"] for test in tests}.values():
        mine = [test for test in tests if test["attack"] == attack]
        by_position = {(test["width"], test["adv_lambda"]): test for test in mine}
        levels = sorted({level for _, level in by_position})
        size = ", ".join(f"{key} {value}" for key, value in attack.items() if key != "name" and value is not None)
        rows = [
            [
                f"×{width:g}",
                *(
                    f"{100 * by_position[width, level]['accuracy']:.1f} %" if (width, level) in by_position else ""
                    for level in levels
                ),
            ]
            for width in sorted({width for width, _ in by_position})
        ]
        images = ", ".join(map(str, sorted({test["n_images"] for test in mine})))
        texts.append(
            f"RA of the run in PyTorch under `{attack['name']}` ({size}; eps in 1/255 of the pixel range), {images}"
            " test images:\n"
        )
        texts.append(table(["width", *(f"RA, λ = {level:g}" for level in levels)], rows))
    return "\n".join(texts)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
