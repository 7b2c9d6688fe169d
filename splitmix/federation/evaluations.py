"""What one measures of a federation in memory: validation and test, at any width, clean or attacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.base import Problem
from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.data.clients import ClientData
from splitmix.data.dataset import Dataset
from splitmix.engine.engine import Engine
from splitmix.evaluation.accuracy import Accuracy
from splitmix.evaluation.mixing import MEAN, mixable
from splitmix.evaluation.statistics import CALIBRATION_IMAGES, POST_PASSES
from splitmix.evaluation.task import EvaluationTask
from splitmix.federation.in_parts import InParts
from splitmix.federation.sampling import (
    DrawnBatches,
    calibration_rows,
    eval_batches,
    images_per_client,
    present_classes,
)
from splitmix.federation.session import Session
from splitmix.federation.tested import tested_places
from splitmix.robustness.attacks import Attack
from splitmix.widths import distinct


class Evaluations(Session):
    """Base class of `Federation`: its clients' validation and test images, and accuracies on them."""

    seed: int
    batch_size: int
    dataset: Dataset
    problem: Problem
    method: Method
    clients: Sequence[ClientData]
    validated: Sequence[int]
    engine: Engine

    def validate(self, state: ServerState, widths: Sequence[float]) -> Accuracy:
        """Validation SA of every validated client, in batches of the training batch size; each width once."""
        return self._validate(
            state, EvaluationTask(widths=distinct(widths, self.method.widths), split="train", batches=[])
        )

    def validate_robust(
        self, state: ServerState, widths: Sequence[float], max_images: int | None = None, attack: Attack | None = None
    ) -> Accuracy:
        """Validation RA of every validated client at the highest level of robustness.

        Args:
            max_images: use so many validation images in all, equally many of every client.
            attack: None is the one that training on `train_attack` is validated under, mostly itself.
        """
        attack = attack or self.problem.attack.validation
        level, each = self.method.adv_lambdas[-1], distinct(widths, self.method.widths)
        task = EvaluationTask(widths=each, split="train", batches=[], adv_lambda=level, attack=attack)
        return self._validate(state, task, images_per_client(max_images, len(self.validated)))

    def _validate(self, state: ServerState, task: EvaluationTask, count: int | None = None) -> Accuracy:
        """Run a task on the validated clients' first `count` validation images."""
        batches = [eval_batches(self.clients[client].val[:count], self.batch_size) for client in self.validated]
        some = len(self.validated) < len(self.clients)
        return self.engine.evaluate(state.only(self.validated) if some else state, replace(task, batches=batches))

    def test(
        self,
        state: ServerState,
        widths: Sequence[float],
        *,
        adv_lambda: float = 0.0,
        batch_size: int = 128,
        bn: str = "trained",
        max_images: int | None = None,
        images: str = "test",
        attack: Attack | None = None,
        predictions: bool = False,
        mix: str = MEAN,
        in_parts: InParts | None = None,
    ) -> Accuracy:
        """Test accuracy of every client, at each width once.

        Args:
            images: on which of its images: `test`, or `validation`, to choose settings by.
            adv_lambda: level of robustness, in [0, 1]; other than 0 needs a method that gives several in situ.
            bn: which batch-normalisation statistics: `trained`: as the run left them; `post`: estimated on each
                client's training images first (20 passes); `static`: estimated in one pass over the training images of
                all clients, one set for all (static batch normalisation of HeteroFL, Diao et al., ICLR 2021).
            max_images: use so many of them in all, equally many of every client.
            attack: attack the images, each against the customised model under test; None leaves them.
            predictions: also give the predictions of every image, for `splitmix.evaluation.classification`.
            mix: how base models' logits are joined: `mean`; `median` of each class's logits; `trimmed`: their mean
                without the largest and the smallest.
            in_parts: measure some clients after others, and go on from those that are known.

        Raises:
            UserError: a width or a level that the method cannot give; a mix of too few base models; `bn=static` where
                statistics stay with clients.
        """
        check_adv_lambda(self.method, adv_lambda)
        mixed = mixable(self.method, distinct(widths, self.method.widths), mix)
        places = tested_places(self, state, mixed, batch_size, bn, max_images, images)
        present = present_classes(self.clients, self.dataset) if predictions else None
        task = EvaluationTask(
            **places, adv_lambda=adv_lambda, attack=attack, predictions=predictions, present=present, mix=mix
        )
        if in_parts is not None:
            return in_parts.evaluate(self.engine, self.method, state, replace(task, rounds=state.round))
        return self.engine.evaluate(state, task)

    def calibration_images(self, count: int = CALIBRATION_IMAGES) -> Tensor:
        """Training images `[n, channels, h, w]` (uint8) for `customize(..., calibration=...)`.

        Equally many of every client, in random order, the same for the same seed; UserError for fewer than two.
        """
        return self.dataset.train.images[calibration_rows(self.clients, count, self.seed)]

    def post_batches(self, client: int) -> DrawnBatches:
        """The batches from which a client's statistics are estimated in BN mode `post`: 20 reshuffled passes."""
        return DrawnBatches(self.clients[client].train, self.batch_size, POST_PASSES, None, self.seed, ("post", client))
