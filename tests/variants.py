"""Variants of a test, of which the quick suite runs some and CI all."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(variants: Iterable[Any], quick: int = 3) -> list[Any]:
    """One of `quick` variants stays in the quick suite, the first among them; the others are slow tests.

    Args:
        variants: a value for each variant, or a tuple where the test has several parameters.
        quick: 3 keeps every third.
    """
    return [
        pytest.param(
            *(variant if isinstance(variant, tuple) else (variant,)), marks=pytest.mark.slow if number % quick else ()
        )
        for number, variant in enumerate(variants)
    ]
