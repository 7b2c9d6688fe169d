"""Numbers over seeds: from one line per run to mean and standard deviation, as a pandas frame; and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

MINUS = "\u2212"
STATISTICS = ["mean", "std", "seeds"]
"""What a CSV file has of a number."""
INTERVALS = "in brackets, where there is one seed: 95 % interval of the mean over clients (bootstrap)"
"""What the brackets in a `text` hold."""


def over_seeds(lines: Iterable[Mapping[str, Any]], by: Sequence[str], value: str = "sa") -> pd.DataFrame:
    """Mean and sample standard deviation over seeds.

    Args:
        lines: one measurement each, with the columns `by`, `seed` and `value`, which is in [0, 1], and its interval
            `low` and `high` where it is known. Of two of one seed the later counts.
        by: what tells the places of a table apart. Numbers ascend, words keep the order in which they first stand.

    Returns:
        `by`, `mean`, `std` (nan for a single seed), `low` and `high` (of a single seed, else nan), `seeds` ("1 2"),
        `percent` ("84.0"), `text` ("84.0 ± 2.8", or "84.0 (81.5 to 86.2)" with an interval) and `bar`, the deviation in
        per cent for an error bar (0 for a single seed).
    """
    frame = pd.DataFrame(lines, columns=[*by, "seed", value, "low", "high"])
    frame = frame.drop_duplicates([*by, "seed"], keep="last").astype({"low": float, "high": float})
    for column in by:
        if frame[column].dtype.kind not in "if":
            frame[column] = pd.Categorical(frame[column], frame[column].unique())
    groups = frame.sort_values("seed").groupby(list(by), observed=True)
    cells = groups.agg(
        mean=(value, "mean"),
        std=(value, "std"),
        seeds=("seed", lambda seeds: " ".join(map(str, seeds))),
        low=("low", alone),
        high=("high", alone),
    )
    cells["percent"] = [f"{100 * mean:.1f}" for mean in cells["mean"]]
    deviations = [beside(*three) for three in zip(cells["std"], cells["low"], cells["high"], strict=True)]
    cells["text"] = [percent + deviation for percent, deviation in zip(cells["percent"], deviations, strict=True)]
    cells["bar"] = 100 * cells["std"].fillna(0.0)
    return cells.reset_index()


def alone(ends: pd.Series) -> float:
    """The end of the interval of a single seed; nan for several."""
    return float(ends.iloc[0]) if len(ends) == 1 else math.nan


def beside(std: float, low: float, high: float) -> str:
    """What stands after a number: the deviation over seeds, or the interval of a single one, if they are known."""
    if not math.isnan(std):
        return f" ± {100 * std:.1f}"
    return "" if math.isnan(low) else f" ({100 * low:.1f} to {100 * high:.1f})"


def missing_seeds(cells: pd.DataFrame, methods: Iterable[str], places: Iterable[str]) -> list[str]:
    """Which seeds a number lacks that another one of the table has, in words.

    Args:
        cells: of `over_seeds`.
        methods, places: of each number, in words. A method that lacks the seeds everywhere is named once.
    """
    frame = pd.DataFrame({"method": list(methods), "place": list(places), "seeds": list(cells["seeds"])})
    every = {int(seed) for seeds in frame["seeds"] for seed in seeds.split()}
    frame["absent"] = [", ".join(map(str, sorted(every - {*map(int, seeds.split())}))) for seeds in frame["seeds"]]
    notes = []
    for absent, lacking in frame[frame["absent"] != ""].groupby("absent", sort=False):
        names = []
        for method, part in lacking.groupby("method", sort=False):
            everywhere = len(part) == (frame["method"] == method).sum()
            names.append(method if everywhere else f"{method} at {', '.join(part['place'])}")
        notes.append(f"no seed {absent}: {'; '.join(names)}")
    return notes


def join(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def signed(number: float, digits: int = 1) -> str:
    """A difference with its sign."""
    text = f"{abs(number):,.{digits}f}"
    return text if not float(text.replace(",", "")) else f"{'+' if number > 0 else MINUS}{text}"
