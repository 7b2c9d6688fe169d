"""Malicious clients: accuracy and backdoor success by method, share of attackers and width, and against that share."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from splitmix.reporting.comparison import CannotShow, Comparison, Drawing, Part
from splitmix.reporting.groups import WIDTH_KEY, grouped
from splitmix.reporting.report_table import Table, spread, width_names
from splitmix.reporting.seeds import STATISTICS, missing_seeds, over_seeds
from splitmix.reporting.style import Palette, error_lines, legend_above, new_figure, spaced, styled
from splitmix.runs.results_file import LACKED
from splitmix.runs.run import Run, largest_by_width

AXIS = "malicious.share"
ROWS = ["method", "measure", "attackers"]
SA, SUCCESS = "SA", "backdoor"


def make(comparison: Comparison) -> Part:
    """The table, and the figure of the narrowest and the widest model."""
    groups = grouped(comparison.runs, (WIDTH_KEY, AXIS), attacked_label, lambda group: AXIS in group.runs[0].settings)
    if not groups:
        raise CannotShow("no run has malicious clients: splitmix train malicious=backdoor malicious.share=0.3")
    lines = [{"method": group.label, **line} for group in groups for run in group.runs for line in lines_of(run)]
    if not lines:
        raise CannotShow("none of these runs has a final test")
    cells = over_seeds(lines, [*ROWS, "width"], "value")
    columns = spaced(comparison.columns(cells, ROWS))  # beside three columns of words
    dataset = comparison.dataset
    caption = (
        f"Malicious clients on {dataset} by width, in %, mean ± standard deviation over seeds. attackers: their share"
        " of the clients; SA: on clean test images; backdoor: share of test images of other classes that are taken for"
        " the attackers' class with their patch on; in parentheses: what joined base models in place of their mean."
    )
    words = [f"{cell.method} ({cell.measure}, {cell.attackers:g})" for cell in cells.itertuples()]
    notes = missing_seeds(cells, words, width_names(cells["width"]))
    rows, numbers = spread(cells, ROWS, "width", columns), cells[[*ROWS, "width", *STATISTICS]]
    table = Table("poison", caption, [*ROWS, *width_names(columns)], rows, numbers, words=3, notes=notes)
    width = comparison.one_width(part for _, part in cells.groupby("method", observed=True)["width"])
    shown = cells[cells["width"].isin([width, cells["width"].min()]) & cells["measure"].isin([SA, SUCCESS])]
    text = (
        f"SA, and the success of a backdoor, on {dataset} against the share of malicious clients; bars: standard"
        " deviation over seeds."
    )
    drawing = Drawing("poison", text, figure_of(shown, comparison.palette))
    return Part("poison", "Malicious clients", [table], [drawing])


def attacked_label(run: Run) -> str:
    """The algorithm, what its malicious clients do, and to which base models."""
    attack, aimed_at = run.settings["malicious"], run.settings.get("malicious.base_models")
    where = f" of base model {', '.join(map(str, aimed_at))}" if aimed_at else ""
    return f"{run.label}, {attack.replace('_', ' ')}{where}"


def lines_of(run: Run) -> list[dict[str, Any]]:
    """Every measure of a run by width and mix of base models: of the least λ, then on the most images."""
    lines = []
    for mix in dict.fromkeys(record["mix"] for record in run.records):
        joined = "" if mix == LACKED["mix"] else f" ({mix})"
        for width, record in sorted(largest_by_width(run.clean_tests(bn="trained", mix=mix)).items()):
            place = {"seed": run.seed, "attackers": run.settings[AXIS], "width": width}
            lines.append({**place, "measure": f"{SA}{joined}", "value": record["accuracy"]})
            if record.get("backdoor_success") is not None:
                lines.append({**place, "measure": f"{SUCCESS}{joined}", "value": record["backdoor_success"]})
    return lines


@styled
def figure_of(cells: pd.DataFrame, palette: Palette) -> Figure:
    """A line per method and width, over the share; the backdoor beside SA where there is one."""
    cells = cells.copy()
    if cells["width"].nunique() > 1:
        names = [f"{cell.method} ×{cell.width:g}" for cell in cells.itertuples()]
        cells["method"] = pd.Categorical(names, dict.fromkeys(names))
    measures = [measure for measure in (SA, SUCCESS) if (cells["measure"] == measure).any()]
    figure = new_figure(2.1)
    [panels] = figure.subplots(1, len(measures), squeeze=False)
    for axes, measure in zip(panels, measures, strict=True):
        error_lines(axes, cells[cells["measure"] == measure], "attackers", palette)
        axes.set(xlabel="share of attackers", ylabel="test SA (%)" if measure == SA else "backdoor success (%)")
        axes.set_ylim(0, None)
    legend_above(figure, panels[0])
    return figure
