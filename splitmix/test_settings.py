"""Settings of the config group `test`: which customised models are tested, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from splitmix.binding import nearest, shown
from splitmix.errors import UserError
from splitmix.widths import distinct

IMAGES = ("test", "validation")
"""What customised models can be tested on."""

METRICS = ("accuracy", "own_accuracy", "balanced_accuracy", "f1", "calibration_error", "nll", "confusion_matrix")
"""What `test.metrics` may list; `accuracy` alone is what every test measures."""


@dataclass(frozen=True)
class TestSettings:
    """Settings of the config group `test`.

    Attributes:
        widths: widths to test; `auto` is every width that the method can give.
        adv_lambdas: levels of robustness to test, in [0, 1]; `auto` is the paper's five where the method can give them,
            else 0.
        bn: `trained`; `post`: statistics estimated on each client's training images; `static`: on those of all clients
            at once.
        batch_size: images per batch, at least 2.
        sort_base_models: mix base models from the best to the worst validation accuracy.
        images: on which of the clients' images: `test`, or `validation`, to choose settings by.
        max_images: images used, all clients together; None means all.
        metrics: some of `METRICS`.
        anytime: also measure early exit: accuracy and mean cost at several confidences.
        corruptions: also test on corrupted images: some kinds of `robustness.corruptions`, or `all`.
        transfer: also test on images that were attacked at the other widths and levels.
        robust: `full`: by the conventions of RobustBench (Croce et al., NeurIPS 2021 Datasets and Benchmarks): all
            test images, AutoAttack among the attacks, no prediction that depends on its batch; with intervals.
        sanity: also measure what tells whether an attack of several gradient steps can be believed.
        mix: how base models' logits are joined: `mean`, `median`, or `trimmed`.
    """

    __test__: ClassVar[bool] = False  # the name is not a test's

    widths: tuple[float, ...] | str = "auto"
    adv_lambdas: tuple[float, ...] | str = "auto"
    bn: str = "trained"
    batch_size: int = 128
    sort_base_models: bool = False
    images: str = "test"
    max_images: int | None = None
    metrics: tuple[str, ...] = ("accuracy",)
    anytime: bool = False
    corruptions: tuple[str, ...] = ()
    transfer: bool = False
    robust: str | None = None
    sanity: bool = False
    mix: str = "mean"

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        for key in ("widths", "adv_lambdas"):
            value = getattr(self, key)
            if isinstance(value, str) and value != "auto":
                raise UserError(f"test.{key}={value}: give a number, a list of numbers, or auto")
            if value == ():
                raise UserError(f"test.{key}=[]: give at least one number, or auto")
        for adv_lambda in self.adv_lambdas_or(()):
            if not 0 <= adv_lambda <= 1:
                raise UserError(f"test.adv_lambdas={shown(adv_lambda)}: give values from 0 (clean) to 1 (robust)")
        if self.bn not in ("trained", "post", "static"):
            raise UserError(f"test.bn={self.bn}: choose trained, post or static")
        if self.batch_size < 2:
            raise UserError(f"test.batch_size={self.batch_size}: give at least 2")
        if self.images not in IMAGES:
            raise UserError(f"test.images={self.images}: choose {' or '.join(IMAGES)}")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"test.max_images={self.max_images}: give at least 1, or null for all")
        if not self.metrics:
            raise UserError("test.metrics=[]: give at least one, such as accuracy")
        for name in self.metrics:
            if name not in METRICS:
                known = ", ".join(METRICS)
                raise UserError(f"test.metrics={name}: no such metric{nearest(name, METRICS)}; known: {known}")
        if self.corruptions:
            from splitmix.robustness.corruptions import kinds

            kinds(self.corruptions)
        if self.mix != "mean":
            from splitmix.evaluation.mixing import check_mix

            check_mix(self.mix, {"anytime": self.anytime, "transfer": self.transfer, "sanity": self.sanity})
        if self.robust not in (None, "full"):
            raise UserError(f"test.robust={self.robust}: choose full or null")
        if self.robust and self.images != "test":
            raise UserError(
                f"test.robust=full: is on all test images, and test.images={self.images} are others; leave"
                " test.images=test"
            )
        if self.robust and self.max_images is not None:
            raise UserError(
                f"test.robust=full: is on all test images, and test.max_images={self.max_images} takes some; leave"
                " test.max_images=null"
            )
        if self.anytime and self.bn != "trained":
            raise UserError(
                f"test.anytime=true: early exit is measured with fixed statistics, not with test.bn={self.bn}; leave"
                " test.bn=trained"
            )

    def refuse_in_training(self) -> None:
        """Raise UserError for what the test at the end of training cannot do: attack, and leave out test images."""
        if self.images != "test":
            raise UserError(
                f"test.images={self.images}: the test at the end of training is on test images; leave it out, and ask"
                " splitmix test for it"
            )
        asked = {"transfer=true": self.transfer, f"robust={self.robust}": self.robust, "sanity=true": self.sanity}
        for words in (words for words, there in asked.items() if there):
            raise UserError(
                f"test.{words}: the test at the end of training attacks nothing; leave it out, and ask splitmix test"
                " for it"
            )

    @property
    def asks_predictions(self) -> bool:
        """Whether the metrics need the prediction of every image."""
        return set(self.metrics) != {"accuracy"}

    def widths_or(self, auto: tuple[float, ...]) -> tuple[float, ...]:
        """The widths to test, each once and as the method names them, `auto` standing for all that it names."""
        return auto if isinstance(self.widths, str) else distinct(self.widths, auto)

    def adv_lambdas_or(self, auto: tuple[float, ...]) -> tuple[float, ...]:
        """The levels of robustness to test, each once, `auto` standing for the given ones."""
        return auto if isinstance(self.adv_lambdas, str) else tuple(dict.fromkeys(self.adv_lambdas))
