"""`splitmix export`: a run as a bundle with two dials, or as one fixed model in a runtime's own file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from splitmix.binding import nearest, shown
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.errors import UserError

FORMATS = {"bundle": "", "onnx": ".onnx", "torch_export": ".pt2", "executorch": ".pte"}
"""What can be written, and how the names of the files must end."""

SPDX = r"[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}"
"""Names and expressions of licences; one line, and no letter that means something in the card's header."""


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/export.yaml`."""

    run: str
    out: str | None
    format: str
    width: float | None
    adv_lambda: float
    quantize: str
    max_drop: float
    calibration: str
    max_images: int | None
    checkpoint: str
    license: str | None
    force: bool
    trust: tuple[str, ...]

    def check(self) -> None:
        """Raise UserError for values that exclude each other or mean nothing."""
        if self.format not in FORMATS:
            raise UserError(
                f"format={self.format}: no such format{nearest(self.format, FORMATS)}; {', '.join(FORMATS)}"
            )
        if self.quantize not in ("none", "int8"):
            raise UserError(f"quantize={self.quantize}: choose none or int8")
        if self.quantize == "int8" and self.format != "onnx":
            raise UserError(f"quantize=int8: format={self.format} has no int8 here; give format=onnx")
        if self.format == "bundle" and (self.width is not None or self.adv_lambda):
            raise UserError(
                "format=bundle: holds every width and level of robustness; leave width and adv_lambda out, or give"
                " format=onnx, torch_export or executorch"
            )
        named = next((name for name, end in FORMATS.items() if end and str(self.out).endswith(end)), None)
        if self.format == "bundle" and named is not None:
            raise UserError(f"out={self.out}: a bundle is a folder; name one, or give format={named} for this file")
        if not 0 <= self.max_drop <= 100:
            raise UserError(f"max_drop={shown(self.max_drop)}: give percentage points from 0 to 100")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"max_images={self.max_images}: give at least 1, or null for all")
        if self.license is not None and self.format != "bundle":
            raise UserError(f"license={self.license}: stands on the card of a bundle; format={self.format} has none")
        if self.license is not None and not re.fullmatch(SPDX, self.license):
            raise UserError(
                f"license={self.license[:80]}: give a name or expression of SPDX, such as MIT or Apache-2.0"
            )
        if self.out is not None and not self.out.endswith(FORMATS[self.format]):
            raise UserError(f"out={self.out}: name a file that ends in {FORMATS[self.format]}")


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("export", argv, export)


def export(cfg: DictConfig) -> None:
    """Export the run that the config names."""
    keys = settings_of(cfg, Keys)
    keys.check()
    trusted = trusted_targets(keys.trust)
    from splitmix.bundle.extras import require
    from splitmix.bundle.files import check_out
    from splitmix.runs.loaded import load

    if keys.format != "torch_export":
        require("executorch" if keys.format == "executorch" else "onnx", f"format={keys.format}")
    out = check_out(keys.out, keys.force)
    if keys.format != "bundle" and out.is_dir():
        raise UserError(f"out={out}: is a folder; name a file")
    run = load(keys.run, checkpoint=keys.checkpoint, trusted=trusted)
    if keys.format == "bundle":
        from splitmix.bundle.bundle import write_bundle
        from splitmix.bundle.deployed import deployed

        held = deployed(run, keys.calibration, keys.calibration)
        values = write_bundle(held, out, keys.max_images, log.info, keys.license)
        for one in values["exported"]:
            level = f"  λ {one['adv_lambda']:g}" if values["dual"] else ""
            log.info(f"×{one['width']:g}{level}  SA {100 * one['sa']:.1f} %")
        log.info(f"bundle of {len(values['parts'])} base models: {out}; its card: {out / 'README.md'}")
        return
    write_fixed_model(keys, out, run)


def write_fixed_model(keys: Keys, out: Path, run: object) -> None:
    """Export one width and level of robustness."""
    from splitmix.bundle.fixed import write_fixed
    from splitmix.federation.build import check_widths
    from splitmix.runs.loaded import LoadedRun

    assert isinstance(run, LoadedRun)
    width = run.widths[-1] if keys.width is None else keys.width
    check_widths(run.method, [width], "width")
    written = write_fixed(
        run, out, keys.format, width, keys.adv_lambda, keys.calibration,
        int8=keys.quantize == "int8", max_drop=keys.max_drop, max_images=keys.max_images, say=log.info,
    )  # fmt: skip
    before = "" if written.sa_float is None else f" (before quantisation {100 * written.sa_float:.1f} %)"
    log.info(
        f"{out}: {written.bytes / 1e6:.2f} MB, SA {100 * written.sa:.1f} %{before} on {written.images} test images, run"
        " by its own runtime"
    )
