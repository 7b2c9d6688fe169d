"""The schema of results.json: what readers may rely on, checked once when the file is read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from splitmix.errors import UserError
from splitmix.reading import read_json

SCHEMA = 1
LACKED = {"mix": "mean"}
"""What test records of earlier versions lack, and what it was."""

Share = Annotated[float, Meta(ge=0, le=1)]
Width = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Amount = Annotated[float, Meta(ge=0, le=1e18)]
Scalar = str | int | float | bool | None


class WidthRecord(Struct):
    """The final test of one width: accuracy, MACs per image, parameters; after training with a backdoor its success."""

    sa: Share
    macs: Amount
    params: Count
    sa_fixed: Share | None = None
    backdoor_success: Share | None = None


class ClientRecord(Struct):
    """One client: its budget, its images, its bytes per round, and whether it attacks."""

    id: str
    domain: str
    budget: Width
    n_train: Count
    n_val: Count
    n_test: Count
    bytes_up: Count
    bytes_down: Count = 0
    malicious: bool = False


class MetricRecord(Struct):
    """One metric of a test: of all images together, of each domain's, and of each class; null where it is unknown.

    The calibration error also has the mean confidence of all images.
    """

    pooled: Amount | None
    per_domain: dict[str, Amount | None]
    per_class: dict[str, Amount | None]
    confidence: Share | None = None


class MatrixRecord(Struct):
    """Confusion matrices of a test: number of images by class (down) and predicted class (across)."""

    classes: list[str]
    pooled: list[list[Count]]
    per_domain: dict[str, list[list[Count]]]


class AnytimeRecord(Struct):
    """Early exit: at each confidence accuracy, and base models and MACs of an image on average."""

    until: Annotated[list[Share], Meta(min_length=1)]
    accuracy: list[Share]
    base_models: list[Annotated[float, Meta(ge=1, le=1e6)]]
    macs: list[Amount]


class TransferRecord(Struct):
    """Accuracy on images attacked at each source, a width and a level; `worst`: right whichever source it was."""

    widths: Annotated[list[Width], Meta(min_length=1)]
    adv_lambdas: list[Share]
    accuracy: list[Share]
    worst: Share
    seconds: Amount | None = None


class SanityRecord(Struct):
    """What tells of masked gradients: RA and loss (in nats) by eps (in 1/255), RA of stronger and of blind attacks."""

    eps: Annotated[list[Amount], Meta(min_length=1)]
    accuracy: list[Share]
    loss: list[Amount]
    more_steps: Count
    accuracy_more_steps: Share
    restarts: Count
    accuracy_restarts: Share
    black_box: Annotated[dict[str, Share], Meta(min_length=1)]
    seconds: Amount | None = None


class TestRecord(Struct):
    """One test of one width: the question, and the answer of every client."""

    checkpoint: str
    sort_base_models: bool
    bn: str
    width: Width
    adv_lambda: Share
    attack: dict[str, Scalar]
    n_images: Count
    accuracy: Share
    per_client: list[Share]
    low: Share | None = None
    high: Share | None = None
    command: str = ""
    seconds: Amount | None = None
    accuracy_fixed: Share | None = None
    loss: Amount | None = None
    backdoor_success: Share | None = None
    mix: str = "mean"
    metrics: dict[str, MetricRecord] = {}
    confusion_matrix: MatrixRecord | None = None
    anytime: AnytimeRecord | None = None
    corruptions: dict[str, Annotated[list[Share], Meta(min_length=5, max_length=5)]] = {}
    transfer: TransferRecord | None = None
    sanity: SanityRecord | None = None


class PrivacyRecord(Struct):
    """What a private run guarantees after its rounds so far (`splitmix.privacy.accounting.Guarantee`)."""

    delta: Share
    relation: str
    accountant: str
    noise_multiplier: Amount
    participation: str
    epsilon: Amount | None = None
    clip_norm: Amount | None = None


class Results(Struct):
    """The whole file; what earlier versions lacked has a default, keys that stand not here are left alone."""

    algorithm: str
    dataset: str
    model: str
    seed: Count
    started: str
    status: str
    clients: Annotated[list[ClientRecord], Meta(min_length=1)]
    widths: dict[str, WidthRecord]
    tests: list[TestRecord]
    validation_tests: list[TestRecord] = []
    rounds: Count = 0
    best_round: Annotated[int, Meta(ge=-1, le=10**15)] | None = None
    wall_s: Annotated[float, Meta(ge=0, le=1e10)] | None = None
    simulated_s: Annotated[float, Meta(ge=0, le=1e18)] | None = None
    privacy: PrivacyRecord | None = None
    config_hash: str | None = None
    git: str | None = None
    versions: dict[str, str] = {}
    engine: dict[str, Any] = {}


def read_results(path: Path) -> dict[str, Any]:
    """Read and check results.json; keys that the schema does not know are kept.

    Raises:
        UserError: it is missing, damaged, or of another schema; the field is named.
    """
    try:
        results = read_json(path)
    except UserError as error:
        raise UserError(f"{error}: is this a run folder?") from error
    if not isinstance(results, dict) or type(results.get("schema")) is not int or results["schema"] != SCHEMA:
        raise UserError(f"{path} is not a results file of schema {SCHEMA}: use the version of splitmix that wrote it")
    try:
        check(msgspec.convert(results, Results))
    except ValueError as error:
        words = str(error).replace("`object`", "`mapping`").replace("`array`", "`list`").replace("Object", "Mapping")
        raise UserError(f"{path} is damaged ({words}): restore it, or leave this run out") from error
    return results


def check(results: Results) -> None:
    """What types alone do not say; ValueError for the first mistake."""
    for width in results.widths:
        try:
            number = float(width)
        except ValueError:
            number = math.nan
        if not 0 < number <= 1:
            raise ValueError(f"`{width}` in `$.widths` is no width")
    places = [(f"tests[{i}]", test) for i, test in enumerate(results.tests)]
    places += [(f"validation_tests[{i}]", test) for i, test in enumerate(results.validation_tests)]
    for place, test in places:
        # It is part of the names of figures.
        if not re.fullmatch(r"[^/\\]{1,100}", name if isinstance(name := test.attack.get("name"), str) else ""):
            raise ValueError(f"`$.{place}.attack.name` is no name of an attack")
        if isinstance(test.attack.get("eps"), str | bool):
            raise ValueError(f"`$.{place}.attack.eps` is no number")
        if len(test.per_client) != len(results.clients):
            raise ValueError(
                f"`$.{place}.per_client` has {len(test.per_client)} values for {len(results.clients)} clients"
            )
        curve = test.anytime
        if curve and len({*map(len, (curve.until, curve.accuracy, curve.base_models, curve.macs))}) > 1:
            raise ValueError(f"`$.{place}.anytime` has columns of unequal length")
        sources = test.transfer
        if sources and len({*map(len, (sources.widths, sources.adv_lambdas, sources.accuracy))}) > 1:
            raise ValueError(f"`$.{place}.transfer` has columns of unequal length")
        ladder = test.sanity
        if ladder and len({*map(len, (ladder.eps, ladder.accuracy, ladder.loss))}) > 1:
            raise ValueError(f"`$.{place}.sanity` has columns of unequal length")
        if (matrix := test.confusion_matrix) is not None:
            for rows in (matrix.pooled, *matrix.per_domain.values()):
                if {len(rows), *map(len, rows)} != {len(matrix.classes)}:
                    raise ValueError(f"`$.{place}.confusion_matrix` is not square in its classes")
