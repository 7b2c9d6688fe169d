"""Budgets: the largest width that each client can train."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from splitmix.errors import UserError
from splitmix.randomness import rng

ASSIGNMENTS = ("blocked", "spread", "random")
REDRAWS = ("never", "round")
GRID = tuple(k / 8 for k in range(1, 9))

LOGNORMAL = re.compile(r"ln([0-9.]+)_([0-9.]+)")
SYNTAX = "write e.g. 8-4-2-1 (for 1/8, 1/4, 1/2, 1), 8d3 for 3/8, or ln0.5_0.4"


@dataclass(frozen=True)
class Groups:
    """Settings of `budget=groups`.

    Attributes:
        widths: `8-4-2-1` means widths 1/8, 1/4, 1/2 and 1, a quarter of the clients each; a term `PdQ` means Q/P
            (`8d3` is 3/8); a width that stands twice counts twice. `lnS_M` draws budgets on the grid 1/8 ... 8/8 from a
            log-normal distribution of shape S and scale M.
        assignment: `blocked` (ascending over the list of clients, so that a budget nearly coincides with a domain, as
            in the paper), `spread` (every budget in every domain) or `random` (a seeded shuffle).
        redraw: `never`; or `round`: every participant draws its budget anew each round, among those of all clients
            (dynamic budgets, as FedRolex is tested by its authors). Reports go by the budgets before the first round.
    """

    name: ClassVar[str] = "groups"

    widths: str = "8-4-2-1"
    assignment: str = "blocked"
    redraw: str = "never"

    def check(self) -> None:
        """Raise UserError for a string or an assignment that cannot be read."""
        if self.assignment not in ASSIGNMENTS:
            raise UserError(f"budget.assignment={self.assignment}: choose one of {', '.join(ASSIGNMENTS)}")
        if self.redraw not in REDRAWS:
            raise UserError(f"budget.redraw={self.redraw}: choose {' or '.join(REDRAWS)}")
        ascending_budgets(self.widths, 1)

    def listed(self) -> tuple[float, ...]:
        """The widths as they stand in `widths`, ascending, duplicates too; none for a log-normal distribution."""
        return () if LOGNORMAL.fullmatch(self.widths) else tuple(parsed(self.widths))

    def assign(self, clients_per_domain: int, domains: int, seed: int) -> tuple[float, ...]:
        """The budget of every client, clients listed domain by domain."""
        self.check()
        n = clients_per_domain * domains
        budgets = ascending_budgets(self.widths, n)
        if self.assignment == "spread":
            # Position in the domain counts first, so that neighbours in budget sit in different domains.
            order = sorted(range(n), key=lambda client: (client % clients_per_domain, client // clients_per_domain))
        elif self.assignment == "random":
            order = rng(seed, "budgets").permutation(n).tolist()
        else:
            order = list(range(n))
        by_client = dict(zip(order, budgets, strict=True))
        return tuple(by_client[client] for client in range(n))


def ascending_budgets(text: str, n: int) -> list[float]:
    """The budgets of `n` clients, ascending (METHOD: client i of n gets `widths[floor(len(widths) * i / n)]`).

    Raises:
        UserError: a term that is not understood, or a width outside (0, 1].
    """
    if lognormal := LOGNORMAL.fullmatch(text):
        try:
            return _lognormal_budgets(float(lognormal[1]), float(lognormal[2]), n)
        except (ValueError, ZeroDivisionError):
            raise UserError(f"budget.widths={text}: {SYNTAX}") from None
    widths = parsed(text)
    return [widths[len(widths) * client // n] for client in range(n)]


def parsed(text: str) -> list[float]:
    """The widths of a list like `8-4-8d3-1`, ascending (UserError)."""
    try:
        widths = sorted(_term(term) for term in text.split("-"))
    except (ValueError, ZeroDivisionError):
        raise UserError(f"budget.widths={text}: {SYNTAX}") from None
    if not all(0 < width <= 1 for width in widths):
        raise UserError(f"budget.widths={text}: every width must lie above 0 and at most at 1, got {widths}")
    return widths


def _term(term: str) -> float:
    denominator, _, numerator = term.partition("d")
    return int(numerator or 1) / int(denominator)


def _lognormal_budgets(shape: float, scale: float, n: int) -> list[float]:
    def cdf(width: float) -> float:
        return 0.5 * (1 + math.erf(math.log(width / scale) / (shape * math.sqrt(2))))

    low = cdf(GRID[0])
    starts = [math.floor(n * (cdf(width) - low) / (1 - low)) for width in GRID] + [n]
    return [width for width, start, end in zip(GRID, starts[:-1], starts[1:], strict=True) for _ in range(start, end)]
