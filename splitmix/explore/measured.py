"""What the test records of a run say at each width and level of robustness: the numbers of `splitmix test`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
Place = tuple[float, float]
"""A width and a level of robustness."""
BN_BY_PREFERENCE = ("trained", "static", "post")


@dataclass(frozen=True)
class TestedAttack:
    """An attack under which a run was tested.

    Attributes:
        settings: as the records hold them, its name included.
        records: by place.
    """

    settings: Mapping[str, Any]
    records: Mapping[Place, Record]

    @property
    def label(self) -> str:
        """Name and main settings, such as `linf_pgd, ε 8/255, 7 steps`."""
        words = [str(self.settings["name"])]
        if isinstance(eps := self.settings.get("eps"), int | float):
            words.append(f"ε {eps:g}/255")
        if isinstance(steps := self.settings.get("steps"), int):
            words.append(f"{steps} steps")
        return ", ".join(words)


@dataclass(frozen=True)
class Measured:
    """The test records of one checkpoint: of each place and attack the one of most images.

    Attributes:
        clean: records of images as they are, by place.
        attacks: the attacks, in the order in which they were first tested.
    """

    clean: Mapping[Place, Record]
    attacks: tuple[TestedAttack, ...]

    def clean_at(self, width: float, adv_lambda: float) -> Record | None:
        """The clean record of a width at the tested level nearest to this one; None without any."""
        return nearest_record(self.clean, width, adv_lambda)

    def attacked_at(self, attack: TestedAttack | None, width: float, adv_lambda: float) -> Record | None:
        """The same under an attack."""
        return None if attack is None else nearest_record(attack.records, width, adv_lambda)

    def points(self, attack: TestedAttack | None) -> list[tuple[Place, float, float]]:
        """Place, SA and RA wherever both are known, widths and levels ascending."""
        records: Mapping[Place, Record] = {} if attack is None else attack.records
        return [
            (place, self.clean[place]["accuracy"], records[place]["accuracy"])
            for place in sorted(records)
            if place in self.clean
        ]


def measured(results: Mapping[str, Any], checkpoint: str, rounds: int) -> Measured:
    """The records of results.json that speak of a checkpoint, base models in their own order.

    Of several records of one place and attack the one of most images counts, of those the last one; statistics as
    trained go before estimated ones.

    Args:
        rounds: of the checkpoint; records of a checkpoint that was overwritten since are left out.
    """
    records = [
        record
        for record in results["tests"]
        if record["checkpoint"] == checkpoint
        and not record["sort_base_models"]
        and record.get("mix", "mean") == "mean"
        and record["bn"] in BN_BY_PREFERENCE
        and record.get("round", rounds) == rounds
    ]
    by_attack: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        by_attack.setdefault(tuple(sorted(record["attack"].items())), []).append(record)
    clean: Mapping[Place, Record] = {}
    attacks: list[TestedAttack] = []
    for of_attack in by_attack.values():
        settings = of_attack[0]["attack"]
        if settings["name"] == "none":
            clean = best_by_place(of_attack)
        else:
            attacks.append(TestedAttack(settings, best_by_place(of_attack)))
    return Measured(clean, tuple(attacks))


def best_by_place(records: Iterable[Record]) -> dict[Place, Record]:
    """Of each place the record to show."""
    chosen: dict[Place, Record] = {}
    for record in sorted(records, key=lambda one: (-BN_BY_PREFERENCE.index(one["bn"]), one["n_images"])):
        chosen[record["width"], record["adv_lambda"]] = record
    return chosen


def nearest_record(records: Mapping[Place, Record], width: float, adv_lambda: float) -> Record | None:
    """The record of a width whose level is nearest."""
    levels = [level for other, level in records if other == width]
    return records[width, nearest(levels, adv_lambda)] if levels else None


def nearest(values: Sequence[float], target: float) -> float:
    """The nearest of these values, of two equally near ones the smaller."""
    return min(values, key=lambda value: (round(abs(value - target), 9), value))
