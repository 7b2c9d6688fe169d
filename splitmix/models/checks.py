"""What every network family checks of its settings and of the width that it is asked for."""

from __future__ import annotations

from splitmix.errors import UserError
from splitmix.models.network import ROUNDING

BN_MODES = ("batch", "tracked", "local")


def check_bn(bn: str) -> None:
    """Raise UserError unless `bn` is a known batch normalisation mode."""
    if bn not in BN_MODES:
        raise UserError(f"model.bn={bn}: choose one of {', '.join(BN_MODES)}")


def check_units(model: str, width: float, smallest: int) -> None:
    """Raise UserError if a width leaves nothing of the smallest hidden layer."""
    if int(width * smallest + ROUNDING) < 1:
        raise UserError(f"model={model} has no channel left at width {width:g}: use at least {1 / smallest:g}")
