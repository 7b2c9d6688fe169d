"""Which runs are seeds of one method, told by their configs alone, and what to call each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from splitmix.reporting.cells import Cell, collected
from splitmix.reporting.runs import Run

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

    def split(self, key: Callable[[Run], Any]) -> dict[Any, Group]:
        """The runs apart by a value of theirs, in the order in which the values first stand."""
        parts: dict[Any, list[Run]] = {}
        for run in self.runs:
            parts.setdefault(key(run), []).append(run)
        return {value: Group(self.label, tuple(runs), self.algorithm) for value, runs in parts.items()}

    def accuracies(self) -> dict[float, Cell]:
        """SA of the final test by width."""
        return collected((width, run.seed, record["sa"]) for run in self.runs for width, record in run.widths.items())


def grouped(
    runs: Sequence[Run],
    apart: Collection[str] = (WIDTH_KEY,),
    label: Callable[[Run], str] | None = None,
    keep: Callable[[Group], bool] | None = None,
) -> list[Group]:
    """Runs by method, in the order in which methods first started.

    Runs belong together if their settings are equal but for the seed and for the keys in `apart`. A group is called
    after its algorithm; of groups of the same name, each is called after the settings in which it departs from what
    most of them have (or after the only setting in which they differ).

    Args:
        apart: keys that may differ inside a group, since the report shows them as an axis or a column.
        label: what to call the algorithm of a run; by default its own label.
        keep: which groups count; the others are left out before names are given.
    """
    members: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.results["started"])):
        kept = sorted((key, repr(value)) for key, value in run.settings.items() if key not in apart)
        members.setdefault(repr(kept), []).append(run)
    models = {run.settings["model"] for run in runs}
    groups = []
    for some in members.values():
        name = _name(some, label) + (f" {some[0].settings['model']}" if len(models) > 1 else "")
        group = Group(name, tuple(some), name)
        if keep is None or keep(group):
            groups.append(group)
    named = []
    for group in groups:
        words = _departures(group, [other for other in groups if other.algorithm == group.algorithm], apart)
        named.append(Group(_with_words(group.label, words), group.runs, group.label))
    return named


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


def _name(runs: Sequence[Run], label: Callable[[Run], str] | None) -> str:
    names = [run.label if label is None else label(run) for run in runs]
    # Plain training is the λ = 0 of an adversarially trained method: the fuller name says more.
    return max(names, key=len)


def _with_words(label: str, words: Sequence[str]) -> str:
    if not words:
        return label
    told = ", ".join(words)
    # An algorithm's own label may end in parentheses already, as with its λ.
    return f"{label[:-1]}, {told})" if label.endswith(")") else f"{label} ({told})"


def _departures(group: Group, same: Sequence[Group], apart: Collection[str]) -> list[str]:
    settings = [other.runs[0].settings for other in same]
    keys = dict.fromkeys(key for some in settings for key in some if key not in apart)
    differing = [key for key in keys if len({repr(some.get(key)) for some in settings}) > 1]
    # Keys that only some options of a config group have follow from the option, which stands before them.
    differing = [
        key for key in differing if key.partition(".")[0] not in differing or all(key in some for some in settings)
    ] or differing
    own = group.runs[0].settings
    words = []
    for key in differing:
        usual, _ = Counter(repr(some.get(key)) for some in settings).most_common(1)[0]
        if key in own and (len(differing) == 1 or repr(own[key]) != usual):
            words.append(setting_word(key, own[key]))
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
    chosen = references(groups)
    settings = [group.runs[0].settings for group in chosen]
    notes = []
    for key in dict.fromkeys(key for some in settings for key in some):
        values: dict[str, list[str]] = {}
        for group, some in zip(chosen, settings, strict=True):
            if key in some:
                values.setdefault(value_word(some[key]), []).append(group.label)
        if key.partition(".")[0] != "algorithm" and len(values) > 1:
            told = "; ".join(f"{value} for {', '.join(labels)}" for value, labels in values.items())
            notes.append(f"methods differ in {key}: {told}")
    return notes
