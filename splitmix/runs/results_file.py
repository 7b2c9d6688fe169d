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

Share = Annotated[float, Meta(ge=0, le=1)]
Width = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Amount = Annotated[float, Meta(ge=0, le=1e18)]
Scalar = str | int | float | bool | None


class WidthRecord(Struct):
    """The final test of one width: accuracy, MACs per image, parameters."""

    sa: Share
    macs: Amount
    params: Count
    sa_fixed: Share | None = None


class ClientRecord(Struct):
    """One client: its budget, its images, its bytes per round."""

    id: str
    domain: str
    budget: Width
    n_train: Count
    n_val: Count
    n_test: Count
    bytes_up: Count
    bytes_down: Count = 0


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
    command: str = ""
    seconds: Amount | None = None
    accuracy_fixed: Share | None = None
    metrics: dict[str, MetricRecord] = {}
    confusion_matrix: MatrixRecord | None = None


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
    rounds: Count = 0
    best_round: Annotated[int, Meta(ge=-1, le=10**15)] | None = None
    wall_s: Annotated[float, Meta(ge=0, le=1e10)] | None = None
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
    for number, test in enumerate(results.tests):
        # It is part of the names of figures.
        if not re.fullmatch(r"[^/\\]{1,100}", name if isinstance(name := test.attack.get("name"), str) else ""):
            raise ValueError(f"`$.tests[{number}].attack.name` is no name of an attack")
        if isinstance(test.attack.get("eps"), str | bool):
            raise ValueError(f"`$.tests[{number}].attack.eps` is no number")
        if len(test.per_client) != len(results.clients):
            raise ValueError(
                f"`$.tests[{number}].per_client` has {len(test.per_client)} values for {len(results.clients)} clients"
            )
        if (matrix := test.confusion_matrix) is not None:
            for rows in (matrix.pooled, *matrix.per_domain.values()):
                if {len(rows), *map(len, rows)} != {len(matrix.classes)}:
                    raise ValueError(f"`$.tests[{number}].confusion_matrix` is not square in its classes")
