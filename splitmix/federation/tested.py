"""What all tests on the clients' test images begin with: widths, batches, and whence statistics are estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from splitmix.algorithms.values import ServerState
from splitmix.errors import UserError
from splitmix.federation.sampling import calibration_rows, eval_batches, images_per_client
from splitmix.widths import distinct

if TYPE_CHECKING:
    from splitmix.federation.evaluations import Evaluations


def tested_places(
    federation: Evaluations,
    state: ServerState,
    widths: Sequence[float],
    batch_size: int = 128,
    bn: str = "trained",
    max_images: int | None = None,
    images: str = "test",
) -> dict[str, Any]:
    """The fields that such tasks have in common, by name; arguments as for `Federation.test`.

    Raises:
        UserError: `bn=static` where statistics stay with clients.
    """
    clients, seed = federation.clients, federation.seed
    if bn == "static" and state.local:
        raise UserError("test.bn=static: with model.bn=local each client has its own statistics; use test.bn=post")
    all_images = len(clients) * max(len(client.train) for client in clients)  # however uneven
    return {
        "widths": distinct(widths, federation.method.widths),
        **tested_batches(federation, images, batch_size, max_images),
        "calibration": [federation.post_batches(client) for client in range(len(clients))] if bn == "post" else None,
        "shared_calibration": calibration_rows(clients, all_images, seed) if bn == "static" else None,
    }


def tested_batches(
    federation: Evaluations, images: str, batch_size: int, max_images: int | None = None
) -> dict[str, Any]:
    """The fields `split` and `batches` of a task on the clients' `test` or `validation` images."""
    clients, count = federation.clients, images_per_client(max_images, len(federation.clients))
    validation = images == "validation"  # a part of the training set
    rows = [client.val if validation else client.test for client in clients]
    return {
        "split": "train" if validation else "test",
        "batches": [eval_batches(of_client[:count], batch_size) for of_client in rows],
    }
