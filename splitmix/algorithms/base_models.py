"""What Split-Mix shares whatever the widths of its base models: their networks, and levels of robustness."""

from __future__ import annotations

from dataclasses import dataclass

from splitmix.algorithms.adversarial import IN_SITU, drawn_objective, dual_notes
from splitmix.algorithms.base import LaneBatch, Objective
from splitmix.algorithms.method import Method
from splitmix.models.network import LaneNetwork, NetworkSpec


@dataclass(frozen=True)
class BaseModelsMethod(Method):
    """Independent base models, trained plainly or adversarially (see `splitmix.algorithms.method.Method`)."""

    @property
    def adv_lambda(self) -> float:
        weight: float = self.settings.adv_lambda
        return weight

    @property
    def adv_lambdas(self) -> tuple[float, ...]:
        return IN_SITU if self.settings.dual else (0.0,)

    @property
    def ra_weight(self) -> float:
        return self.adv_lambda if self.settings.dual else 0.0

    @property
    def notes(self) -> list[str]:
        rescales = {f"algorithm.{name}" for name in ("rescale_init", "rescale_layer") if getattr(self.settings, name)}
        return dual_notes(self.server_network, sorted(rescales)) if self.settings.dual else []

    def attacked_objective(self, network: LaneNetwork, batch: LaneBatch) -> Objective:
        levels = self.settings.lambdas
        if not levels:
            return super().attacked_objective(network, batch)
        return drawn_objective(network, batch, self.problem, self.adv_lambda, levels, self.settings.draw == "image")

    def base_network(self, width: float) -> NetworkSpec:
        """The network of one base model of a width."""
        return NetworkSpec(
            model=self.model,
            width=width,
            input_shape=self.problem.input_shape,
            classes=self.problem.classes,
            rescale_init=self.settings.rescale_init,
            rescale_layer=self.settings.rescale_layer,
            bn=self.model.bn,
            norm="dual" if self.settings.dual else "plain",
        )
