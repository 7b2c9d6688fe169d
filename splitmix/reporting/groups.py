"""Which runs are seeds of one method, by their configs alone, and what to call each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitmix.runs.run import Run

WIDTH_KEY = "algorithm.width"
"""The one width of a method that trains a network per width: it is a column of a table, not another method."""

SHORT = {"model.bn": "bn", "budget.widths": "budgets", "optimizer.lr": "lr", "algorithm.adv_lambda": "λ"}
MOST_SHOWN = 8
"""Methods that one figure can tell apart."""


@dataclass(frozen=True)
class Group:
    """Runs of one method: they differ in the seed, and in the keys that the report spreads out.

    Attributes:
        label: what to call it: the algorithm, and in parentheses its settings where another group needs telling apart.
        runs: by start.
        algorithm: the label without the parentheses.
    """

    label: str
    runs: tuple[Run, ...]
    algorithm: str

    def accuracies(self, **columns: Callable[[Run], Any]) -> list[dict[str, Any]]:
        """SA of the final test: a line for each run and width, with further columns of the run."""
        return [
            {"method": self.label, "seed": run.seed, "width": width, "sa": record["sa"]}
            | {"over_budget": run.over_budget(width)}
            | {name: value(run) for name, value in columns.items()}
            for run in self.runs
            for width, record in run.widths.items()
        ]


def grouped(
    runs: Sequence[Run],
    apart: Collection[str] = (WIDTH_KEY,),
    label: Callable[[Run], str] = lambda run: run.label,
    keep: Callable[[Group], bool] = lambda group: True,
) -> list[Group]:
    """Runs by method, in the order in which methods first started.

    Runs belong together if their settings are equal but for the seed and for the keys in `apart`. A group is called
    after its algorithm; of groups of the same name, each is called after the settings in which it departs from what
    most of them have (or after the only setting in which they differ).

    Args:
        apart: keys that may differ inside a group, since the report shows them as an axis or a column.
        label: what to call the algorithm of a run.
        keep: which groups count; the others are left out before names are given.
    """
    members: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.results["started"])):
        settings = sorted((key, repr(value)) for key, value in run.settings.items() if key not in apart)
        members.setdefault(repr(settings), []).append(run)
    several_models = len({run.settings["model"] for run in runs}) > 1
    groups = []
    for some in members.values():
        # Plain training is the λ = 0 of an adversarially trained method: the fuller name says more.
        name = max(map(label, some), key=len) + (f" {some[0].settings['model']}" if several_models else "")
        groups.append(Group(name, tuple(some), name))
    groups = list(filter(keep, groups))
    departures = [
        _departures(group, [other for other in groups if other.algorithm == group.algorithm], apart) for group in groups
    ]
    return [replace(group, label=_with_words(group.label, d)) for group, d in zip(groups, departures, strict=True)]


def references(groups: Sequence[Group]) -> list[Group]:
    """Of every algorithm the group with the fewest words to its name."""
    first: dict[str, Group] = {}
    for group in sorted(groups, key=lambda group: len(group.label)):
        first.setdefault(group.algorithm, group)
    return [group for group in groups if first[group.algorithm] is group]


def shown(groups: Sequence[Group]) -> tuple[list[Group], str]:
    """The groups that one figure can show, and words for its caption if these are not all."""
    if len(groups) <= MOST_SHOWN:
        return list(groups), ""
    return references(groups)[:MOST_SHOWN], " Of each algorithm one setting; the table has them all."


def image_notes(group: Group) -> list[str]:
    """In words, if the clean tests of these runs (of each the one on the most images) are on unequally many."""
    counts = sorted({record["n_images"] for run in group.runs for record in run.plain_tests().values()})
    return [f"{group.label}: tested on {' or '.join(map(str, counts))} images"] if len(counts) > 1 else []


def _with_words(label: str, words: Sequence[str]) -> str:
    if not words:
        return label
    # An algorithm's own label may end in parentheses already, as with its λ.
    return f"{label[:-1]}, {', '.join(words)})" if label.endswith(")") else f"{label} ({', '.join(words)})"


def _departures(group: Group, same: Sequence[Group], apart: Collection[str]) -> list[str]:
    settings = [other.runs[0].settings for other in same]
    keys = dict.fromkeys(key for some in settings for key in some if key not in apart)
    differing = [key for key in keys if len({repr(some.get(key)) for some in settings}) > 1]
    # Keys that only some options of a config group have follow from the option, which stands before them.
    differing = [
        key for key in differing if key.partition(".")[0] not in differing or all(key in some for some in settings)
    ] or differing
    of_group, words = group.runs[0].settings, []
    for key in differing:
        usual, _ = Counter(repr(some.get(key)) for some in settings).most_common(1)[0]
        if key in of_group and (len(differing) == 1 or repr(of_group[key]) != usual):
            words.append(setting_word(key, of_group[key]))
    return words


def setting_word(key: str, value: Any) -> str:
    """A setting in a few letters."""
    if key == WIDTH_KEY:
        return f"×{value:g}"
    if key == "clients_per_round":
        return f"{'all' if value is None else value} clients per round"
    return f"{SHORT.get(key, key.removeprefix('algorithm.'))}={value_word(value)}"


def value_word(value: Any) -> str:
    """A setting's value in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_word, value))}]"
    return str(value)


def unequal_settings(groups: Sequence[Group]) -> list[str]:
    """Settings outside the algorithm in which one group of each algorithm differs from the others, in words."""
    chosen = {group.label: group.runs[0].settings for group in references(groups)}
    notes = []
    for key in dict.fromkeys(key for settings in chosen.values() for key in settings):
        labels: dict[str, list[str]] = {}
        for label, settings in chosen.items():
            if key in settings:
                labels.setdefault(value_word(settings[key]), []).append(label)
        if key.partition(".")[0] != "algorithm" and len(labels) > 1:
            values = "; ".join(f"{value} for {', '.join(some)}" for value, some in labels.items())
            notes.append(f"methods differ in {key}: {values}")
    return notes
