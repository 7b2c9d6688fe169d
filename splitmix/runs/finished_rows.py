"""The table of a finished run, read back from its folder."""

from __future__ import annotations

from pathlib import Path

from splitmix.algorithms.method import Method
from splitmix.payload import payload_bytes
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import read_results
from splitmix.runs.rows import WidthRow


def finished_rows(folder: Path, method: Method) -> list[WidthRow]:
    """What training printed at its end, by width, ascending.

    Args:
        method: of the run.

    Raises:
        UserError: results.json or metrics.csv cannot be read.
    """
    results = read_results(folder / "results.json")
    # A user may have removed damaged metrics.
    rows = read_metrics(folder / "metrics.csv")
    at_best = next((row for row in rows if row["round"] == results.get("best_round")), {})
    return [
        WidthRow(
            width,
            at_best.get(f"val_sa/{width}"),
            at_best.get(f"val_ra/{width}"),
            record["sa"],
            record["macs"],
            record["params"],
            payload_bytes(method.upload_entries(width)),
            record.get("sa_fixed"),
        )
        for width, record in sorted((float(text), record) for text, record in results["widths"].items())
    ]
