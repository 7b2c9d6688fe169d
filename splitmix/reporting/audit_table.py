"""The table of an audit: the median image beside the worst one, for every client, threat and number of base models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from splitmix.reporting.tables import UNKNOWN, text_table

HEADER = ["at", "client", "budget", "threat", "models", "rank", "RMSE", "noise", "bound"]


def audit_table(records: Sequence[Mapping[str, Any]], convention: str) -> Table:
    """One line per checkpoint, client, threat and number of base models; the median over its images.

    The worst image is the one that is reconstructed best.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("checkpoint", "client", "budget", "threat", "base_models"))
        groups.setdefault(key, []).append(record)
    rows = [HEADER]
    for (checkpoint, client, budget, threat, count), some in groups.items():
        bars = [record["error_bar"] for record in some if record["error_bar"] is not None]
        sign = "≥ " if any(record["unknown"] < record["pixels"] for record in some) else ""
        ranks = sorted(f"{record['rank']}/{record['unknown']}" for record in some)
        errors = [record["rmse"] for record in some if record["rmse"] is not None]
        noises = [record["noise_for_reached"] for record in some if record["noise_for_reached"] is not None]
        spread = f" ± {median(bars):.1g}" if bars else ""
        rows.append([
            checkpoint, client, f"×{budget:g}", threat, str(count), ranks[0],
            f"{sign}{median(errors):.2g}{spread} ({min(errors):.2g})" if errors else UNKNOWN,
            f"{median(noises):.2g} ({max(noises):.2g})" if noises else UNKNOWN,
            f"{median(record['bound'] for record in some):.2g}",
        ])  # fmt: skip
    threats = {record["threat"]: record["described"] for record in records}
    words = "; ".join(f"{name}: {described}" for name, described in threats.items())
    caption = (
        f"RMSE: error per pixel of an attacker who inverts the noisy upload; {convention}; pixels lie in [0, 1]."
        " Noise: the sigma at which the RMSE reaches 0.1. Median of the images, in brackets the worst image, which is"
        " reconstructed best. Models: base models uploaded together. Rank: directions of the image that the upload"
        " shows at all, of all of its values; the RMSE counts these alone. Bound: a lower bound of the RMSE, which"
        f" ranks nothing. Threats: {words}."
    )
    return text_table(rows, caption, 4)


def agreement_table(levels: Sequence[Mapping[str, Any]], attack: str) -> Table:
    """How far predictions and reconstructions agree, by noise level."""
    rows = [["sigma", "noise / upload", "images", "error / predicted", "rank", "error / expected", "rank", "stopped"]]
    for level in levels:
        ranks = [UNKNOWN if level[key] is None else f"{level[key]:.2f}" for key in ("spearman", "expected_spearman")]
        total = level["images"] * level["draws"]
        rows.append([
            f"{level['sigma']:.2g}", f"{100 * level['noise']:.2g} %", str(level["images"]),
            f"{level['median_ratio']:.2f}", ranks[0], f"{level['expected_ratio']:.2f}", ranks[1],
            UNKNOWN if level["stopped"] is None else f"{level['stopped']} of {total}",
        ])  # fmt: skip
    caption = (
        f"Reconstructions by audit.attack={attack} against the influence function, median of the images. Predicted: for"
        " the noise that was drawn. Expected: root mean square over noise of that size, beside that over the"
        f" {levels[0]['draws']} draws made. Rank: rank correlation over the images. Stopped: reconstructions of newton"
        " that stopped at a kink, short of a minimum."
    )
    return text_table(rows, caption, 1)
