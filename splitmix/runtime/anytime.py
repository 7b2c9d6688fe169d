"""Models with two dials that answer at any time: what every holder of base models can do, however it computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from splitmix.errors import UserError
from splitmix.runtime.images import Array, as_batch
from splitmix.runtime.manifest import Manifest

LATENCY_PASSES = 15
Self = TypeVar("Self", bound="AnytimeModel")


@dataclass(frozen=True)
class Prediction:
    """The answer to one image, or to a batch: then every field but `seconds` and `width` has a leading dimension.

    Attributes:
        label: index of the most probable class.
        name: that class's name (of a batch a list of names).
        probabilities: of all classes, float32 `[classes]`.
        base_models: how many base models answered.
        width: the width of the answer; of a batch the largest.
        seconds: time since the image was given.
    """

    label: Any
    name: Any
    probabilities: Array
    base_models: Any
    width: float
    seconds: float

    @property
    def confidence(self) -> Any:
        """The probability of the answer, in [0, 1]."""
        return self.probabilities.max(-1)


class AnytimeModel(ABC):
    """A model whose width and level of robustness are set on the spot.

    One object is one *handle*: a position of both dials. Threads that set them each take a handle of their own
    (`handle()`), which costs no memory for weights: all handles of a bundle share them.

    Attributes:
        manifest: of the bundle that it was read from.
        base_models: how many base models the set width mixes.
        adv_lambda: the set level of robustness, in [0, 1].
    """

    def __init__(self, manifest: Manifest, base_models: int):
        self.manifest = manifest
        self.base_models = base_models
        self.adv_lambda = 0.0

    @property
    @abstractmethod
    def held(self) -> int:
        """How many base models can be mixed now."""

    @abstractmethod
    def base_logits(self, images: Array, number: int) -> Array:
        """Logits `[n, classes]` of base model `number` for float images `[n, channels, h, w]`, at the set level."""

    @abstractmethod
    def handle(self: Self) -> Self:
        """Another handle on the same weights, with dials of its own at the same position."""

    def mixed_logits(self, images: Array, count: int) -> Array:
        """Mean of the logits of the first `count` base models."""
        total = self.base_logits(images, 0)
        for number in range(1, count):
            total = total + self.base_logits(images, number)
        return np.asarray(total / count)

    @property
    def width(self) -> float:
        """The set width, a share of the full network's."""
        return self.manifest.widths[self.base_models - 1]

    @property
    def widths(self) -> tuple[float, ...]:
        """The widths that can be set with what is held."""
        return self.manifest.widths[: self.held]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.manifest.classes

    def set(self: Self, width: float | None = None, adv_lambda: float | None = None) -> Self:
        """Turn the dials; what is not given stays. Nothing is loaded or copied.

        Raises:
            UserError: a width or a level that is no number or that the bundle cannot give, or base models that are
                not held (they are named); then both dials stay.
        """
        for name, value in (("width", width), ("adv_lambda", adv_lambda)):
            if value is not None and not isinstance(value, Real):
                raise UserError(f"{name}={value!r}: give a number")
        count = self.base_models if width is None else self.manifest.count(width)
        if adv_lambda is not None:
            self.manifest.check_adv_lambda(adv_lambda)
        self.manifest.check_held(count, self.held)
        self.base_models = count
        if adv_lambda is not None:
            self.adv_lambda = float(adv_lambda)
        return self

    def fit(
        self: Self,
        *,
        max_macs: float | None = None,
        max_params: float | None = None,
        max_bytes: float | None = None,
        max_latency_ms: float | None = None,
    ) -> Self:
        """Set the widest width within all the given limits.

        Args:
            max_macs: multiply-accumulates per image.
            max_params: parameters.
            max_bytes: bytes of the parts.
            max_latency_ms: median milliseconds of one image, measured here and now.

        Raises:
            UserError: no limit, or one that even the narrowest model exceeds.
        """
        given = {"macs": max_macs, "params": max_params, "bytes": max_bytes}
        limits = {key: limit for key, limit in given.items() if limit is not None}
        if not limits and max_latency_ms is None:
            raise UserError("fit: give max_macs, max_params, max_bytes or max_latency_ms")
        fitting = 0
        for count in range(1, self.held + 1):
            costs: Mapping[str, float] = self.manifest.costs[count - 1]
            for key, limit in limits.items():
                if costs[key] > limit and count == 1:
                    raise UserError(f"max_{key}={limit:g}: the narrowest model has {costs[key]:g} {key}")
            if any(costs[key] > limit for key, limit in limits.items()):
                break
            if max_latency_ms is not None and (measured := self.latency_ms(count)) > max_latency_ms:
                if count == 1:
                    raise UserError(f"max_latency_ms={max_latency_ms:g}: the narrowest model takes {measured:.3g} ms")
                break
            fitting = count
        self.base_models = fitting
        return self

    def latency_ms(self, count: int) -> float:
        """Median milliseconds of one image through `count` base models, measured now."""
        images = np.zeros((1, *self.manifest.input_shape), np.float32)
        times = []
        for _ in range(LATENCY_PASSES):
            start = perf_counter()
            self.mixed_logits(images, count)
            times.append(perf_counter() - start)
        return 1e3 * median(times[2:])

    def predict(self, image: Any, *, deadline_ms: float | None = None, until: float | None = None) -> Prediction:
        """The answer of the set width, or an earlier one.

        Args:
            image: an image or a batch, see `splitmix.runtime.images.as_batch`.
            deadline_ms: stop adding base models when the next one would end after so many milliseconds; one base
                model always answers.
            until: stop adding base models, image by image, at this confidence, in (0, 1].

        Raises:
            UserError: an image of another size or type, a limit out of range.
        """
        if deadline_ms is not None and not deadline_ms > 0:
            raise UserError(f"deadline_ms={deadline_ms:g}: give a time above 0")
        if until is not None and not 0 < until <= 1:
            raise UserError(f"until={until:g}: give a confidence above 0 and up to 1")
        start = perf_counter()
        images, one = as_batch(image, self.manifest.input_shape, self.manifest.resize)
        if deadline_ms is None and until is None:
            logits = self.mixed_logits(images, self.base_models)
            return self.answer(logits, np.full(len(images), self.base_models), start, one)
        answers, counts = np.zeros((len(images), len(self.classes)), np.float32), np.zeros(len(images), np.int64)
        open_rows, total, slowest = np.arange(len(images)), np.zeros_like(answers), 0.0
        for number in range(self.base_models):
            before = perf_counter()
            if deadline_ms is not None and number and before - start + slowest > deadline_ms / 1e3:
                break
            total[open_rows] += self.base_logits(images[open_rows], number)
            answers[open_rows], counts[open_rows] = total[open_rows] / (number + 1), number + 1
            if until is not None:
                open_rows = open_rows[softmax(answers[open_rows]).max(1) < until]
            slowest = max(slowest, perf_counter() - before)
            if not len(open_rows):
                break
        return self.answer(answers, counts, start, one)

    def stream(self, image: Any) -> Iterator[Prediction]:
        """An answer after every base model of the set width; the last one is that of `predict`."""
        start = perf_counter()
        images, one = as_batch(image, self.manifest.input_shape, self.manifest.resize)
        total = np.zeros((len(images), len(self.classes)), np.float32)
        for number in range(self.base_models):
            total = total + self.base_logits(images, number)
            yield self.answer(total / (number + 1), np.full(len(images), number + 1), start, one)

    def answer(self, logits: Array, counts: Array, start: float, one: bool) -> Prediction:
        """The prediction that logits `[n, classes]` of so many base models each are."""
        probabilities, labels = softmax(logits), logits.argmax(1)
        names = [self.classes[label] for label in labels]
        width, seconds = self.manifest.widths[int(counts.max()) - 1], perf_counter() - start
        if one:
            return Prediction(int(labels[0]), names[0], probabilities[0], int(counts[0]), width, seconds)
        return Prediction(labels, names, probabilities, counts, width, seconds)


def softmax(logits: Array) -> Array:
    """Probabilities of logits `[n, classes]`."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
