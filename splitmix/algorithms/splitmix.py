"""Split-Mix: Hong, Wang, Wang, Zhou, "Efficient Split-Mix Federated Learning for On-Demand and In-Situ
Customization", ICLR 2022 (arXiv 2203.09747).

The full network is split into narrow, independent base models. A client trains as many of them as its budget
allows; every base model is averaged over the clients that trained it; the model of a width is the mean of the
logits of so many base models.

With `adv_lambda` above 0 it is trained adversarially; between 0 and 1 with dual batch normalisation (Split-Mix + DAT),
so that the model of a width also has a level of robustness, chosen in situ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from splitmix.algorithms.adversarial import check_adversarial, check_draw
from splitmix.algorithms.base import MixGroup, Problem
from splitmix.algorithms.base_models import BaseModelsMethod
from splitmix.algorithms.objectives import check_temperature, temperature_of
from splitmix.algorithms.unequal import UnequalMethod
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.network import Model, NetworkSpec, Tensors, lane_entries
from splitmix.randomness import rng
from splitmix.widths import TOLERANCE, normalized, whole_parts


@dataclass(frozen=True)
class SplitMix:
    """Settings of `algorithm=splitmix`.

    Attributes:
        atom_width: width of one base model (the paper's "atom slim ratio").
        rescale_init: initialise base models with the fan-in of the full network.
        rescale_layer: divide layer outputs by the base model's width while training.
        loss_temperature: tau of the loss tau * CE(logits / tau); `auto` is the width of the base model; None is 1.
        adv_lambda: weight of the loss on attacked images, in [0, 1]. 0 is plain training; 1 sees no clean images and
            has ordinary batch normalisation; anything between has dual batch normalisation.
        base_widths: in place of `atom_width` the width of every base model, in the order in which they are mixed. They
            add up to the largest budget. (The paper's are all of one width.)
        lambdas: levels of dual batch normalisation that training draws from (see `drawn_objective`); () are 0 for
            clean and 1 for attacked images, as in the paper.
        draw: `batch` or `image`, what draws a level of its own.
    """

    name: ClassVar[str] = "splitmix"

    atom_width: float = 0.125
    rescale_init: bool = True
    rescale_layer: bool = True
    loss_temperature: float | str | None = None
    adv_lambda: float = 0.0
    base_widths: tuple[float, ...] | None = None
    lambdas: tuple[float, ...] = ()
    draw: str = "batch"

    @property
    def label(self) -> str:
        if self.dual:
            return f"Split-Mix+DAT, λ by {self.draw}" if self.lambdas else "Split-Mix+DAT"
        return f"Split-Mix+AT (λ={self.adv_lambda:g})" if self.adv_lambda else "Split-Mix"

    @property
    def dual(self) -> bool:
        """Whether batch normalisation has two branches."""
        return 0 < self.adv_lambda < 1

    @property
    def base_width(self) -> float | None:
        """The width of its base models; None where they have several."""
        several = set(self.base_widths or (self.atom_width,))
        return several.pop() if len(several) == 1 else None

    def bind(self, model: Model, problem: Problem) -> BaseModelsMethod:
        """Check the settings against the model and the problem.

        Raises:
            UserError: a width outside (0, 1], widths that do not add up to the largest budget, a budget below all of
                them, a setting out of range, batch normalisation of clients with unequal widths.
        """
        self.check_widths(problem)
        check_temperature(self.loss_temperature)
        check_adversarial(self.adv_lambda, self.loss_temperature, problem)
        check_draw(self.draw, self.lambdas, self.adv_lambda)
        model.check(problem.input_shape, min(self.base_widths or (self.atom_width,)))
        if self.base_width is not None:
            return SplitMixMethod(replace(self, atom_width=self.base_width, base_widths=None), model, problem)
        if model.bn == "local":
            raise UserError(
                "model.bn=local: base models of unequal algorithm.base_widths cannot keep batch normalisation with"
                " their clients; use model.bn=batch or model.bn=tracked"
            )
        return UnequalMethod(self, model, problem)

    def check_widths(self, problem: Problem) -> None:
        """Raise UserError for widths that do not fit the budgets."""
        smallest, full, listed = min(problem.budgets), problem.full_width, self.base_widths
        name, values = ("atom_width", (self.atom_width,)) if listed is None else ("base_widths", listed)
        key = f"algorithm.{name}={shown(getattr(self, name))}"
        if not values or not all(0 < width <= 1 for width in values):
            raise UserError(f"{key}: give {'a width' if listed is None else 'widths'} above 0 and up to 1")
        if listed is not None and abs(sum(listed) - full) > TOLERANCE:
            raise UserError(
                f"{key}: they add up to {sum(listed):g}; give widths that add up to the largest budget, {full:g}"
            )
        if whole_parts(smallest, min(values)) < 1:
            mend = f"set algorithm.atom_width={smallest:g}" if listed is None else f"give a width up to {smallest:g}"
            raise UserError(
                f"budget.widths has {smallest:g}, below {key}: such a client could"
                f" not train a single base model; raise the budget or {mend}"
            )


@dataclass(frozen=True)
class SplitMixMethod(BaseModelsMethod):
    """Split-Mix with base models of one width (see `splitmix.algorithms.method.Method`)."""

    settings: SplitMix
    mixes: ClassVar[bool] = True

    @property
    def temperature(self) -> float:
        return temperature_of(self.settings.loss_temperature, self.settings.atom_width)

    @cached_property
    def spec(self) -> NetworkSpec:
        """The network of one base model."""
        return self.base_network(self.settings.atom_width)

    def count(self, width: float) -> int:
        """Number of whole base models in `width`."""
        return whole_parts(width, self.settings.atom_width)

    @property
    def base_models(self) -> int:
        return self.count(self.problem.full_width)

    @cached_property
    def widths(self) -> tuple[float, ...]:
        atom = self.settings.atom_width
        return tuple(
            normalized(atom * count, (atom, *self.problem.budget_widths)) for count in range(1, self.base_models + 1)
        )

    def plan(self, state: ServerState, participants: Sequence[int], seed: int) -> list[ClientTask]:
        """Every client gets the next base model of a server-wide shuffled round-robin, the rest by lot.

        The round-robin is the permutation number `slot // base_models` of the seed, where `slot` counts the clients
        served before: no hidden state, so a resumed run deals the same. (All rounds have equally many participants.)
        """
        served = state.round * len(participants)
        return [
            ClientTask(state.round, client, self.spec, self.draw(state.round, served + position, client, seed))
            for position, client in enumerate(participants)
        ]

    def draw(self, round_index: int, slot: int, client: int, seed: int) -> tuple[int, ...]:
        """The base models that `client` trains in a round, ascending."""
        cycle, position = divmod(slot, self.base_models)
        first = int(rng(seed, "round-robin", cycle).permutation(self.base_models)[position])
        others = [base for base in range(self.base_models) if base != first]
        extra = self.count(self.problem.budget(client, round_index, seed)) - 1
        drawn = rng(seed, "base models", round_index, client).choice(others, extra, replace=False) if extra else None
        return tuple(sorted([first, *([] if drawn is None else drawn.tolist())]))

    def mix_size(self, width: float) -> int:
        """Number of base models mixed at `width`; UserError if there is no such mix."""
        count = round(width / self.settings.atom_width)
        if count < 1 or abs(width - count * self.settings.atom_width) > TOLERANCE:
            raise UserError(
                f"width {width:g} is not a multiple of algorithm.atom_width={shown(self.settings.atom_width)}:"
                f" choose among {', '.join(f'{w:g}' for w in self.widths)}"
            )
        if count > self.base_models:
            raise UserError(
                f"width {width:g} is above the largest budget, {self.problem.full_width:g}: no client trained more;"
                f" choose a width up to {self.widths[-1]:g}"
            )
        return count

    def network(self, width: float) -> NetworkSpec:
        self.mix_size(width)
        return self.spec

    def mix_groups(self, tensors: Tensors, widths: Sequence[float], rounds: int = 0) -> list[MixGroup]:
        sizes = {width: self.mix_size(width) for width in widths}
        most = max(sizes.values())
        return [MixGroup(self.spec, {name: value[:most] for name, value in tensors.items()}, sizes)]

    def upload_entries(self, budget: float) -> int:
        return self.count(budget) * lane_entries(self.spec)

    def training_load(self, budget: float) -> list[tuple[NetworkSpec, float]]:
        return [(self.spec, self.count(budget) * self.step_cost)]
