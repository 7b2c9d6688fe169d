"""What is known of a long test before its end, kept in the run folder, so that the same command goes on with it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta, Struct

import splitmix
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.files import write_atomically
from splitmix.reading import read_json
from splitmix.robustness.attacks import Attack
from splitmix.runs.results_file import Count, Share
from splitmix.test_settings import TestSettings

log = logging.getLogger("splitmix")


class KnownPart(Struct):
    """The accuracies of neighbouring clients, by client and width, and their images."""

    per_client: Annotated[list[list[Share]], Meta(min_length=1)]
    n_images: Count


class KnownFile(Struct):
    """What the file holds."""

    question: dict[str, Any]
    parts: list[KnownPart]


class UnfinishedTest:
    """The known parts of one test, in a file of the run folder until the test is recorded.

    Args:
        folder: of the run.
        question: all that the numbers depend on, as plain data; another question has another file.
        widths: those tested.
    """

    def __init__(self, folder: Path, question: Mapping[str, Any], widths: Sequence[float]):
        self.question, self.widths = json.loads(json.dumps(question)), tuple(widths)
        text = json.dumps(self.question, sort_keys=True)
        self.path = folder / f".unfinished-test-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        self.parts: list[KnownPart] = self.read() if self.path.exists() else []

    def read(self) -> list[KnownPart]:
        """The parts in the file; none if it is damaged, since they can be measured again."""
        try:
            known = msgspec.convert(read_json(self.path), KnownFile)
            if known.question != self.question:
                raise UserError("it is of another question")
            if any(len(row) != len(self.widths) for part in known.parts for row in part.per_client):
                raise UserError("it has other widths")
        except (UserError, msgspec.ValidationError) as error:
            log.warning(f"note: {self.path} is not used ({error}); the test begins anew")
            return []
        return known.parts

    def get(self, number: int) -> Accuracy | None:
        """The accuracies of a part; None if they are not known."""
        if number >= len(self.parts):
            return None
        per_client = torch.tensor(self.parts[number].per_client, dtype=torch.float64)
        return Accuracy(self.widths, per_client, torch.zeros(len(per_client), 0), self.parts[number].n_images)

    def put(self, number: int, result: Accuracy) -> None:
        """Keep the accuracies of the next part."""
        self.parts.append(KnownPart(result.per_client.tolist(), result.n_images))
        content = msgspec.json.encode(KnownFile(self.question, self.parts))
        write_atomically(self.path, lambda file: file.write(content))

    def recorded(self) -> None:
        """The test is in results.json: its file is of no more use."""
        self.path.unlink(missing_ok=True)


def question_of(
    checkpoint: str,
    config_hash: str,
    test: TestSettings,
    widths: Sequence[float],
    level: float,
    attack: Attack,
    precision: str,
) -> dict[str, Any]:
    """All that the numbers of a test depend on; `checkpoint` is its checksum."""
    return {
        "checkpoint": checkpoint,
        "config": config_hash,
        "widths": list(widths),
        "adv_lambda": level,
        "attack": {"name": attack.name, **asdict(attack)},
        "precision": precision,
        **{
            name: getattr(test, name)
            for name in ("bn", "batch_size", "images", "max_images", "mix", "sort_base_models")
        },
        "versions": [splitmix.__version__, torch.__version__],
    }
