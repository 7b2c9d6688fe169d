"""What a report is made of: the runs to compare, and the parts (tables, figures, notes) that come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from splitmix.errors import UserError
from splitmix.reporting.report_table import Table
from splitmix.reporting.style import Palette
from splitmix.runs.run import Run

MOST_COLUMNS = 8
"""Widths that stand side by side: as many as a network of eight base models has."""


class CannotShow(UserError):
    """These runs do not have what a report needs; says what that is."""


@dataclass(frozen=True)
class Drawing:
    """A figure with the stem of its files and its caption."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Part:
    """What one kind of report shows.

    Attributes:
        lead: its result in a sentence or two, which opens the page.
    """

    kind: str
    title: str
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    lead: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """Finished runs on one dataset.

    Attributes:
        dataset: its name.
        width: show this width where a report shows a single one; None is the largest that all methods have.
        training_macs: multiply-accumulates of one training step of a client of a run, by budget (UserError if they
            cannot be known).
        training_memory: likewise the bytes that a step needs beside the weights.
    """

    dataset: str
    runs: Sequence[Run]
    width: float | None = None
    training_macs: Callable[[Run], Mapping[float, float]] = lambda run: {}
    training_memory: Callable[[Run], Mapping[float, float]] = lambda run: {}
    palette: Palette = field(default_factory=Palette)

    def columns(self, cells: pd.DataFrame, rows: Sequence[str] = ("method",)) -> list[float]:
        """Every width of a table; of too many, the budgets of clients and what some row has alone.

        Args:
            cells: a line for each number, with its `width`.
            rows: the columns that tell the rows of the table apart.

        Raises:
            CannotShow: there is none.
        """
        widths = sorted(cells["width"].unique())
        if not widths:
            raise CannotShow("none of these runs has a final test")
        if len(widths) > MOST_COLUMNS:
            alone = cells.groupby(list(rows), observed=True)["width"].transform("nunique") == 1
            chosen = {*cells["width"][alone], *(budget for run in self.runs for budget in run.budgets)}
            widths = [width for width in widths if width in chosen] or widths
        return widths

    def one_width(self, available: Iterable[Iterable[float]]) -> float:
        """The width of a report that shows one: the asked one, else the largest that all methods have.

        Args:
            available: the widths of each method.

        Raises:
            CannotShow: no method has the asked width.
        """
        each = [set(widths) for widths in available]
        union = set().union(*each)
        if self.width is None:
            return max(set.intersection(*each) or union)
        if self.width not in union:
            known = ", ".join(f"{width:g}" for width in sorted(union))
            raise CannotShow(f"width={self.width:g}: none of these runs was tested there; choose among {known}")
        return self.width
