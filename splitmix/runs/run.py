"""A run as reports see it: its results, its bound config, its metrics, and the settings that decide its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from splitmix.config import RunConfig
from splitmix.errors import UserError
from splitmix.fleet import Fleet
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import LACKED
from splitmix.widths import normalized

NOT_COMPARED = ("seed", "name", "resume", "validate_every", "engine", "logger", "test", "checkpoint_rounds")
"""What may differ between runs that are averaged: it decides no accuracy, or is the seed. Of the test, the number of
images does decide."""
CLEAN = "none"
"""The name of the attack of a clean test."""
PLACES = ("dataset.root", "dataset.split_root")
"""Where the files lay: says nothing about what is in them."""


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: the run folder.
        results: contents of results.json.
        config: its bound config.
        command: what made it.
        differences: what its config changes from the defaults of `splitmix train`, as key=value.
    """

    folder: Path
    results: dict[str, Any]
    config: RunConfig
    command: str = ""
    differences: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        return int(self.results["seed"])

    @property
    def label(self) -> str:
        """What its algorithm is called."""
        return str(self.config.algorithm.label)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that decides its numbers but the seed, by dotted key; components by name under their group."""
        parts = {field.name: getattr(self.config, field.name) for field in fields(self.config)}
        settings = _flat(parts.pop("scalars"))
        if isinstance(fleet := parts["budget"], Fleet):
            settings |= {"budget": fleet.name, "budget.fleet": fleet.digest}
            del parts["budget"]
        for name, value in parts.items():
            if name not in NOT_COMPARED:
                settings |= _flat(value, name)
        settings["test.max_images"] = self.config.test.max_images
        return {key: value for key, value in settings.items() if key not in (*NOT_COMPARED, *PLACES)}

    @cached_property
    def identity(self) -> str:
        """Equal for runs that differ in the seed alone."""
        return repr(sorted((key, repr(value)) for key, value in self.settings.items()))

    @cached_property
    def widths(self) -> dict[float, dict[str, Any]]:
        """The final test by width: `sa` and (in newer runs) `sa_fixed` in [0, 1], `macs` per image, `params`."""
        return {normalized(float(width)): record for width, record in self.results["widths"].items()}

    @property
    def budgets(self) -> list[float]:
        """The budget of every client."""
        return [client["budget"] for client in self.results["clients"]]

    def over_budget(self, width: float) -> float:
        """The share of clients that trained more than their budget allows, for a method with one width for all."""
        if getattr(self.config.algorithm, "width", None) is None:
            return 0.0
        return sum(budget < width for budget in self.budgets) / max(1, len(self.budgets))

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """Rows of metrics.csv (UserError if it cannot be read)."""
        return read_metrics(self.folder / "metrics.csv")

    def curve(self, metric: str) -> dict[int, float]:
        """A metric by round (counted from 1), where it was measured."""
        return {int(row["round"]) + 1: row[metric] for row in self.metrics if metric in row}

    def validated_widths(self) -> list[float]:
        """Widths that were validated, ascending."""
        names = {name for row in self.metrics for name in row if name.startswith("val_sa/")}
        return sorted(float(name.removeprefix("val_sa/")) for name in names)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """All test records, their widths normalized: earlier versions wrote 0.30000000000000004, and no mix."""
        return [{**LACKED, **record, "width": normalized(float(record["width"]))} for record in self.results["tests"]]

    def tests(self, **values: Any) -> list[dict[str, Any]]:
        """Test records of the best checkpoint, of the mean of unsorted base models, with these values of these keys."""
        values = {"checkpoint": "best", "sort_base_models": False, "mix": "mean", **values}
        # A test made while the run trained may be of a best checkpoint that gave way to a better one.
        last_best = {"best": (self.results.get("best_round") or 0) + 1}
        return [
            test
            for test in self.records
            if all(test.get(key) == value for key, value in values.items())
            and test.get("round") in (None, last_best.get(test["checkpoint"], test.get("round")))
        ]

    def clean_tests(self, **values: Any) -> list[dict[str, Any]]:
        """The same without an attack."""
        return [record for record in self.tests(**values) if record["attack"]["name"] == CLEAN]

    def plain_tests(self) -> dict[float, dict[str, Any]]:
        """The clean test's records by width."""
        tests = {width: self.plain_test(width) for width in sorted(self.widths)}
        return {width: record for width, record in tests.items() if record is not None}

    def client_accuracies(self) -> list[float]:
        """Every client's test accuracy at the widest tested width within its budget (else the narrowest tested).

        Empty where no test tells the clients apart.
        """
        records = self.plain_tests()
        if not records:
            return []
        widths = [max((w for w in records if w <= budget), default=min(records)) for budget in self.budgets]
        return [records[width]["per_client"][number] for number, width in enumerate(widths)]

    def plain_test(self, width: float, bn: str = "trained") -> dict[str, Any] | None:
        """The record of the clean test at a width on the most images, of the least λ; None if there is none."""
        return largest_by_width(self.clean_tests(width=width, bn=bn)).get(width)


def largest_by_width(records: Iterable[dict[str, Any]]) -> dict[float, dict[str, Any]]:
    """By width the test record of the least λ, then on the most images."""
    ordered = sorted(records, key=lambda record: (-record["adv_lambda"], record["n_images"]))
    return {record["width"]: record for record in ordered}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key; a component by its name too."""
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        name = {prefix: getattr(value, "name", type(value).__name__)} if prefix else {}
    elif isinstance(value, Mapping):
        parts, name = dict(value), {}
    else:
        return {prefix: value}
    flat = [_flat(part, f"{prefix}.{key}" if prefix else str(key)) for key, part in parts.items()]
    return dict(item for some in [name, *flat] for item in some.items())


def in_situ(run: Run) -> bool:
    """Whether one trained model was tested at several λ."""
    return len({record["adv_lambda"] for record in run.tests()}) > 1


def latest_of_equal(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Of runs with equal settings and seed the one that started last; and in words which ones gave way."""
    kept: dict[tuple[str, int], Run] = {}
    notes = []
    for run in sorted(runs, key=lambda run: str(run.results["started"])):
        if earlier := kept.get((run.identity, run.seed)):
            notes.append(f"left out: {earlier.folder} ({run.label}, seed {run.seed}: {run.folder} repeats it later)")
        kept[run.identity, run.seed] = run
    return list(kept.values()), notes


def of_one_dataset(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs on the dataset of the one that started last; and in words which datasets are left out."""
    if not runs:
        return [], []
    dataset = max(runs, key=lambda run: str(run.results["started"])).results["dataset"]
    others: dict[str, list[Path]] = {}
    for run in runs:
        if run.results["dataset"] != dataset:
            others.setdefault(run.results["dataset"], []).append(run.folder)
    notes = [
        f"left out: runs on {name} ({len(folders)}, such as {folders[0]}); this report is on {dataset}, the dataset of"
        f" the newest run: name the folders of {name} for another"
        for name, folders in others.items()
    ]
    return [run for run in runs if run.results["dataset"] == dataset], notes


def check_same_domains(runs: Sequence[Run]) -> str:
    """The name of the dataset of all runs (UserError: other domains under the same name)."""
    by_domains: dict[str, Path] = {}
    for run in runs:
        by_domains[", ".join(sorted({client["domain"] for client in run.results["clients"]}))] = run.folder
    if len(by_domains) > 1:
        names = "; ".join(f"{domains} in {folder}" for domains, folder in by_domains.items())
        raise UserError(f"runs: of different domains ({names}); a report needs the same: name the folders of one")
    return str(runs[0].results["dataset"])
