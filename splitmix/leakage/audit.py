"""What the uploads of one client give away under each threat: errors by image and number of base models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from splitmix.leakage.jacobian import UploadJacobian
from splitmix.leakage.layerwise import gradient_factor
from splitmix.leakage.networks import ClientModel
from splitmix.leakage.settings import AuditSettings
from splitmix.leakage.spectrum import Factor, Spectrum
from splitmix.leakage.uploads import (
    LocalSteps,
    Upload,
    gradient_upload,
    local_upload,
    others_known,
    side_by_side,
    uploaded_part,
)

REACHED = 0.1
"""The error per pixel whose noise is reported."""
DRAWS = 4
"""Draws of pixels where not all of them are taken."""
Tell = Callable[[str, float], None]
"""Told what is computed, and the share of it that is done."""


@dataclass(frozen=True)
class Audited:
    """One client as the audit sees it.

    Attributes:
        evaluated, trained: its base models in evaluation mode, and as they are trained.
        batches: images of each local step, float64 in [0, 1].
        labels: of each step.
        steps: how it steps; None where the audit cannot follow it.
    """

    evaluated: Sequence[ClientModel]
    trained: Sequence[ClientModel]
    batches: Sequence[Tensor]
    labels: Sequence[Tensor]
    steps: LocalSteps | None


@dataclass(frozen=True)
class Finding:
    """What one image of one upload is worth.

    Attributes:
        threat: `image`, `batch` or `upload`.
        described: the threat in words.
        image: its place among the client's images of the round.
        label: its class.
        base_models: how many are uploaded together.
        pixels, entries: d and P.
        unknown: pixels taken as unknown; fewer than d where the others count as known.
        rank: of J J^T over the unknown pixels.
        sigma: noise in units of the upload.
        rmse: error per pixel at that noise.
        noise_for_reached: noise at which the error per pixel reaches 0.1.
        bound: sigma sqrt(tr(J J^T) / d) / lambda_max; a lower bound, which ranks nothing.
        error_bar: standard error of `rmse` over draws of pixels; None for the whole image.
        source: what the spectrum was computed from.
        seconds: that it took.
    """

    threat: str
    described: str
    image: int
    label: int
    base_models: int
    pixels: int
    entries: int
    unknown: int
    rank: int
    sigma: float
    rmse: float | None
    noise_for_reached: float | None
    bound: float
    error_bar: float | None
    source: str
    seconds: float

    def record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def findings(client: Audited, threats: Sequence[str], settings: AuditSettings, tell: Tell) -> Iterator[Finding]:
    """Every image under every threat, for the asked numbers of base models."""
    counts = sorted({min(count, len(client.evaluated)) for count in settings.base_models})
    images, labels = torch.cat(list(client.batches)), torch.cat(list(client.labels))
    for threat in threats:
        for image in range(min(settings.images, len(client.batches[0] if threat == "upload" else images))):
            start = perf_counter()
            if threat == "upload":
                described, factors = through_steps(client, image, counts[-1], settings, tell)
                models = client.trained
            else:
                batch, batch_labels, place = batch_of(client, threat, image, settings)
                mode = "one image" if len(batch) == 1 else f"a batch of {len(batch)}, the others known"
                described = f"one step, {mode}, label known, evaluation mode"
                models = client.evaluated
                factors = [
                    [gradient_factor(model, batch, batch_labels, place, share_of(tell, threat, image, number))]
                    for number, model in enumerate(models[: counts[-1]])
                ]
            for count in counts:
                norm = upload_norm(client, models[:count], threat, image, settings)
                sigma = settings.noise_on(norm)
                draws = [
                    Factor.together([of_model[draw] for of_model in factors[:count]]) for draw in range(len(factors[0]))
                ]
                yield finding(
                    [factor.spectrum() for factor in draws],
                    threat=threat,
                    described=described,
                    image=image,
                    label=int(labels[image]),
                    base_models=count,
                    pixels=images[0].numel(),
                    entries=draws[0].columns,
                    sigma=sigma,
                    seconds=perf_counter() - start,
                )


def finding(spectra: Sequence[Spectrum], *, sigma: float, pixels: int, **about: Any) -> Finding:
    """The errors of the draws of pixels, on average."""
    errors = [spectrum.rmse(1.0) for spectrum in spectra]
    one = mean(errors)
    known = math.isfinite(one) and one > 0
    return Finding(
        pixels=pixels,
        unknown=spectra[0].pixels,
        rank=min(spectrum.rank for spectrum in spectra),
        sigma=sigma,
        rmse=sigma * one if known else None,
        noise_for_reached=REACHED / one if known else None,
        bound=mean(spectrum.bound(sigma) for spectrum in spectra),
        error_bar=sigma * stdev(errors) / math.sqrt(len(errors)) if known and len(errors) > 1 else None,
        source=spectra[0].source,
        **about,
    )


def through_steps(
    client: Audited, image: int, count: int, settings: AuditSettings, tell: Tell
) -> tuple[str, list[list[Factor]]]:
    """J J^T of the upload after all local steps, by an image of the first step, of each of `count` base models.

    Where the image has more than `settings.pixels` values, of a few random draws of pixels each, the other pixels
    being known to the attacker: their error is at most that of the same pixels with the whole image unknown.
    """
    images, upload_of = local_uploads(client)
    alone = images[image : image + 1]
    whole = alone.numel() <= settings.pixels
    generator = torch.Generator().manual_seed(image)
    each = max(1, settings.pixels // DRAWS)
    drawn = [torch.randperm(alone.numel(), generator=generator)[:each] for _ in range(1 if whole else DRAWS)]
    taken = torch.arange(alone.numel()) if whole else torch.cat(drawn)
    factors = []
    for number, model in enumerate(client.trained[:count]):
        jacobian = UploadJacobian(others_known(upload_of(model), images, image), alone)
        rows = jacobian.rows(8, taken, share_of(tell, "upload", image, number))
        parts = [rows] if whole else rows.split(each)
        factors.append([Factor.of(part, jacobian.entries) for part in parts])
    of_pixels = "" if whole else f"; lower bound: {DRAWS} draws of {each} unknown pixels, the other pixels known"
    steps = len(client.batches)
    return (
        f"the upload after {steps} local steps, an image of the first, the others, labels and order known,"
        f" training mode{of_pixels}",
        factors,
    )


def local_uploads(client: Audited) -> tuple[Tensor, Callable[[ClientModel], Upload]]:
    """All images of the steps, and the upload of a base model as a function of them."""
    assert client.steps is not None
    steps, labels = client.steps, torch.cat(list(client.labels))
    bounds = torch.tensor([0, *(len(batch) for batch in client.batches)]).cumsum(0).tolist()
    rows = [range(low, high) for low, high in pairwise(bounds)]

    def upload_of(model: ClientModel) -> Upload:
        return uploaded_part(local_upload(model.loss, model.parameters, rows, labels, steps), model.kept)

    return torch.cat(list(client.batches)), upload_of


def batch_of(client: Audited, threat: str, image: int, settings: AuditSettings) -> tuple[Tensor, Tensor, int]:
    """The batch of a one-step threat that holds an image: images, labels, and the image's place in it."""
    images, labels = torch.cat(list(client.batches)), torch.cat(list(client.labels))
    size = 1 if threat == "image" else settings.batch_size
    low = min(image // size * size, max(0, len(images) - size))
    return images[low : low + size], labels[low : low + size], image - low


def one_step(client: Audited, threat: str, image: int, count: int, settings: AuditSettings) -> tuple[Upload, Tensor]:
    """The upload of `count` base models after one step as a function of one image, and that image."""
    batch, labels, place = batch_of(client, threat, image, settings)
    uploads = [
        uploaded_part(gradient_upload(model.loss, model.parameters, labels), model.kept)
        for model in client.evaluated[:count]
    ]
    return others_known(side_by_side(uploads), batch, place), batch[place : place + 1]


def upload_norm(
    client: Audited, models: Sequence[ClientModel], threat: str, image: int, settings: AuditSettings
) -> float:
    """The norm of all base models' uploads together; 0 where nothing asks for it."""
    if settings.clip is None:
        return 0.0
    squares = 0.0
    for model in models:
        if threat == "upload":
            images, upload_of = local_uploads(client)
            uploaded = upload_of(model)(images)
        else:
            batch, labels, _ = batch_of(client, threat, image, settings)
            uploaded = uploaded_part(gradient_upload(model.loss, model.parameters, labels), model.kept)(batch)
        squares += sum(float(value.square().sum()) for value in uploaded.values())
    return math.sqrt(squares)


def share_of(tell: Tell, threat: str, image: int, number: int) -> Callable[[float], None]:
    """Tells the share done of one base model."""
    return lambda share: tell(f"{threat}, image {image + 1}, base model {number + 1}", share)
