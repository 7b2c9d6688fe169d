"""How base models' logits are joined at test: their mean, or a rule that a single poisoned one cannot move far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from splitmix.algorithms.aggregation import middle
from splitmix.algorithms.method import Method
from splitmix.binding import nearest, shown
from splitmix.errors import UserError
from splitmix.models.network import lane_template

MEAN = "mean"


def mean(logits: Tensor) -> Tensor:
    """Their mean, as trained."""
    return logits.mean(0)


def median(logits: Tensor) -> Tensor:
    """The median of every class's logits; of an even number of base models the mean of the two in the middle."""
    return middle(logits.sort(0).values)


def trimmed(logits: Tensor) -> Tensor:
    """The mean of every class's logits without the largest and the smallest."""
    return logits.sort(0).values[1:-1].mean(0)


JOINS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    MEAN: (mean, 1),
    "median": (median, 1),
    "trimmed": (trimmed, 3),
}
"""By name the function of logits `[base models, n, classes]`, and the fewest base models that it needs."""


def mixes(logits: Tensor, sizes: Sequence[int], mix: str = MEAN) -> Tensor:
    """The joined logits of the first `size` lanes for every size.

    Args:
        logits: `[lanes, n, classes]`.
        mix: one of `JOINS`.

    Returns:
        `[len(sizes), n, classes]`.
    """
    if mix == MEAN:
        sums = logits.cumsum(0)
        return torch.stack([sums[size - 1] / size for size in sizes])
    join, _ = JOINS[mix]
    return torch.stack([join(logits[:size]) for size in sizes])


def check_mix(mix: str, of_means: Mapping[str, bool]) -> None:
    """Raise UserError for a `test.mix` that there is not, or one beside what is measured of means alone.

    Args:
        of_means: such keys of `test`, and whether each is asked for.
    """
    if mix not in JOINS:
        raise UserError(f"test.mix={mix}: no such mix{nearest(mix, JOINS)}; choose {', '.join(JOINS)}")
    for key in [key for key, asked in of_means.items() if asked and mix != MEAN]:
        raise UserError(f"test.mix={mix}: test.{key}=true is measured of means of base models; use test.mix=mean")


def mixable(method: Method, widths: Sequence[float], mix: str, asked: bool = True) -> tuple[float, ...]:
    """The widths that have as many base models as the mix needs.

    Args:
        asked: the user named these widths, so that each must have them.

    Raises:
        UserError: the method has no base models of one width, or too few at an asked width, or at all of them.
    """
    _, fewest = JOINS[mix]
    if mix == MEAN:
        return tuple(widths)
    if not method.mixes:
        raise UserError(
            f"test.mix={mix}: {method.called} has no base models of one width to choose from; use test.mix=mean"
        )
    groups = method.mix_groups(lane_template(method.server_network, method.base_models), widths)
    sizes = {width: size for group in groups for width, size in group.sizes.items()}
    enough = tuple(width for width in widths if sizes[width] >= fewest)
    if not enough or (asked and len(enough) < len(widths)):
        few = next(width for width in widths if width not in enough)
        raise UserError(
            f"test.mix={mix}: needs {fewest} base models, and width {shown(few)} mixes {sizes[few]}; give larger"
            " test.widths, or use test.mix=median"
        )
    return enough
