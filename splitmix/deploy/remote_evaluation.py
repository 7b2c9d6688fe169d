"""Accuracy of customised models on clients on other machines: each evaluates its own images."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from splitmix.algorithms.algorithm import check_adv_lambda
from splitmix.algorithms.plain_data import arrays
from splitmix.algorithms.values import ServerState
from splitmix.deploy.journal import MISSING, Entry
from splitmix.deploy.messages import EVALUATE, BadMessage, packed, unpacked
from splitmix.errors import UserError
from splitmix.evaluation.accuracy import Accuracy
from splitmix.widths import distinct

if TYPE_CHECKING:
    from splitmix.deploy.remote import RemoteFederation

log = logging.getLogger("splitmix")

MOST_ANSWER = 1 << 20
TRIES = 3


class PartialAccuracy(Accuracy):
    """Accuracies of which some clients' are not known: NaN in their rows."""

    def mean(self) -> dict[float, float]:
        """Unweighted mean over the clients that answered, by width."""
        known = self.per_client[~self.per_client.isnan().any(1)]
        return dict(zip(self.widths, known.mean(0).tolist(), strict=True))

    def order(self) -> list[int]:
        """Base models from the best to the worst mean accuracy over the clients that answered."""
        known = self.per_base[~self.per_base.isnan().any(1)]
        return sorted(range(known.shape[1]), key=lambda base: -float(known[:, base].mean()))


@dataclass
class RemoteEvaluation:
    """An evaluation by the clients themselves.

    Attributes:
        federation: the fleet.
        state: the server whose models are evaluated.
        widths: the widths.
        split: `val` or `test`.
        batch_size: images per batch.
        adv_lambda: level of robustness.
        bn: `trained` or `post`.
        most: images per client; None are all.
        attacked: attack the images as in training.
    """

    federation: RemoteFederation
    state: ServerState
    widths: Sequence[float]
    split: str
    batch_size: int
    adv_lambda: float = 0.0
    bn: str = "trained"
    most: int | None = None
    attacked: bool = False

    def run(self, everyone: bool = False) -> Accuracy:
        """Ask all clients that are connected.

        Args:
            everyone: ask again those that do not answer, and accept no missing one.

        Raises:
            UserError: no client answered; with `everyone`, a client did not.
        """
        federation = self.federation
        check_adv_lambda(federation.method, self.adv_lambda)
        self.widths = distinct(self.widths, federation.method.widths)
        numbers = list(range(len(federation.clients)))
        answers: dict[int, dict[str, Any]] = {}
        for _ in range(TRIES if everyone else 1):
            left = [client for client in numbers if client not in answers]
            federation.directory.wait_for(left, len(left) if everyone else min(1, len(left)))
            answers |= self.ask(left)
            if len(answers) == len(numbers):
                break
        lacking = [federation.clients[client].id for client in numbers if client not in answers]
        if lacking and (everyone or not answers):
            raise UserError(f"no evaluation by {', '.join(lacking)}: bring their nodes back, then resume the run")
        return self.joined(answers)

    def ask(self, clients: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The good answers of those of these clients that are connected."""
        federation = self.federation
        content = {
            "tensors": arrays(self.state.tensors),
            "round": self.state.round,
            "widths": list(self.widths),
            "split": self.split,
            "batch_size": self.batch_size,
            "adv_lambda": self.adv_lambda,
            "bn": self.bn,
            "most": self.most,
            "attacked": self.attacked,
        }
        requests = {
            client: (
                federation.directory.node_of[client],
                packed(EVALUATE, {**federation.request(client, self.state.round), **content}),
            )
            for client in clients
            if client in federation.directory.node_of
        }
        answers: dict[int, dict[str, Any]] = {}
        for item in federation.exchange.ask(requests, federation.fleet.round_seconds):
            if item.client < 0 or item.late or item.duplicate:
                continue
            name = federation.clients[item.client].id
            sizes = len(requests[item.client][1]), len((item.answer and item.answer.content) or b"")
            outcome = self.split if sizes[1] else MISSING
            seconds = round(item.seconds, 3)
            # A simulation has no such bytes, so that they stand apart from the rounds'.
            federation.evaluations.add([Entry(self.state.round - 1, name, outcome, "", seconds, None, *sizes)])
            if item.answer is None:
                continue
            try:
                answer = self.checked(item.answer.content, name)
                if any(len(answer["per_base"]) != len(other["per_base"]) for other in answers.values()):
                    raise BadMessage("per_base is of another length than other clients'")
                answers[item.client] = answer
            except BadMessage as error:
                log.warning(f"client {name}: no evaluation ({str(error) or item.answer.error})")
        return answers

    def checked(self, data: bytes | None, name: str) -> dict[str, Any]:
        """The content of an answer (BadMessage: it is none)."""
        if data is None:
            raise BadMessage("")
        content = unpacked(data, EVALUATE, MOST_ANSWER)
        if "error" in content or content.get("client") != name:
            raise BadMessage(str(content.get("error", "from another client"))[:300])
        per_base = content.get("per_base")
        base_models = len(per_base) if isinstance(per_base, list) else -1
        for key, length in (("per_client", len(self.widths)), ("per_base", base_models)):
            values = content.get(key)
            if not isinstance(values, list) or len(values) != length or not length:
                raise BadMessage(f"{key} is of another length than expected")
            if not all(type(value) is float and 0 <= value <= 1 for value in values):
                raise BadMessage(f"{key} is no list of accuracies")
        if type(content.get("n_images")) is not int:
            raise BadMessage("n_images is no number")
        return content

    def joined(self, answers: dict[int, dict[str, Any]]) -> Accuracy:
        """The accuracies of all clients, NaN for those that did not answer."""
        base_models = len(next(iter(answers.values()))["per_base"])
        unknown = {"per_client": [math.nan] * len(self.widths), "per_base": [math.nan] * base_models, "n_images": 0}
        rows = [answers.get(client, unknown) for client in range(len(self.federation.clients))]
        kind = Accuracy if len(answers) == len(rows) else PartialAccuracy
        return kind(
            tuple(self.widths),
            torch.tensor([row["per_client"] for row in rows], dtype=torch.float64),
            torch.tensor([row["per_base"] for row in rows], dtype=torch.float64),
            sum(row["n_images"] for row in rows),
        )
