"""From a checkpoint of the method authors' code to a run folder that can be tested, without running anything in it."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import torch
from omegaconf import OmegaConf
from torch import Tensor

from splitmix.algorithms.method import Method
from splitmix.algorithms.values import ServerState
from splitmix.config import RunConfig
from splitmix.config_hash import config_hash
from splitmix.data.limits import GIB, PICKLE
from splitmix.errors import UserError
from splitmix.federation.build import build_federation
from splitmix.models.network import NetworkSpec, Tensors
from splitmix.printing import excerpt
from splitmix.regular_files import open_regular
from splitmix.runs.checkpoint import Checkpoint, save_checkpoint
from splitmix.runs.reference_names import reference_name
from splitmix.runs.results import describe_run, write_results

NAMED = 20  # entries that do not fit that a message names


def import_reference(config: RunConfig, resolved: dict[str, Any], file: Path, out: Path) -> ServerState:
    """Make the run folder `out` of the checkpoint `file`, which was trained as `config` says.

    Raises:
        UserError: `out` exists; `file` is no such checkpoint, or its entries do not fit the config (they are named).
    """
    if out.exists():
        raise UserError(f"out={out}: exists already; name a folder that does not")
    content = read_reference(file)
    federation = build_federation(config)
    state = converted(federation.method, content, file)
    best = content.get("best_epoch", -1)
    values = [float(value) for value in content.get("best_acc", [])]
    checkpoint = Checkpoint(state, int(best), sum(values) / len(values) if values else -1.0, 0.0)
    identity = {
        "algorithm": federation.method.name,
        "dataset": federation.dataset.name,
        "model": config.model.name,
        "seed": config.scalars.seed,
        "rounds": state.round,
        "config_hash": config_hash(resolved),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "imported_from": str(file),
    }
    results = describe_run(federation, identity) | {"status": "finished", "best_round": checkpoint.best_round}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"out={out}: cannot write there ({error.strerror}); choose another folder") from error
    try:
        (beside / "checkpoints").mkdir()
        for name in ("best", "last"):
            save_checkpoint(beside / "checkpoints" / f"{name}.ckpt", checkpoint)
        (beside / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(resolved)))
        write_results(beside / "results.json", results)
        beside.chmod(0o755)
        beside.rename(out)
    except OSError as error:
        raise UserError(f"out={out}: cannot write there ({error.strerror}); choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return state


def read_reference(file: Path) -> dict[str, Any]:
    """The content of such a checkpoint, loaded as data only.

    Raises:
        UserError: missing, truncated, not of this layout, or with objects that are neither tensors nor plain values.
    """
    try:
        with open_regular(file) as opened:
            check_size(file, opened)
            content = torch.load(opened, map_location="cpu", weights_only=True)
    except UserError as error:
        raise UserError(f"file={error}") from None
    except FileNotFoundError:
        raise UserError(f"file={file}: does not exist") from None
    except Exception as error:
        raise UserError(
            f"file={file}: truncated, no checkpoint, or one that holds more than tensors and plain values"
            f" ({type(error).__name__})"
        ) from error
    model = content.get("server_model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("server"), dict):
        raise UserError(f"file={file}: not a checkpoint of the authors' code: it lacks server_model.server")
    clients, accuracies = model.get("clients") or [], content.get("best_acc", [])
    for key, value, fits in (
        ("a_iter", content.get("a_iter", -1), is_round(content.get("a_iter", -1))),
        ("best_epoch", content.get("best_epoch", -1), is_round(content.get("best_epoch", -1))),
        ("best_acc", accuracies, isinstance(accuracies, list) and all(map(is_accuracy, accuracies))),
        (
            "server_model.clients",
            clients,
            isinstance(clients, list | tuple) and all(isinstance(entry, dict) for entry in clients),
        ),
    ):
        if not fits:
            raise UserError(
                f"file={file}: not a checkpoint of the authors' code: its {key} is {excerpt(value, 60)}; save it"
                " with their code"
            )
    return content


def check_size(file: Path, opened: BinaryIO) -> None:
    """Refuse a checkpoint that unpacks to more than the limit (UserError)."""
    size = os.fstat(opened.fileno()).st_size
    if zipfile.is_zipfile(opened):
        size = sum(member.file_size for member in zipfile.ZipFile(opened).infolist())
    opened.seek(0)
    if size > PICKLE.value:
        raise PICKLE.refusal(f"{file}: takes {size / GIB:.1f} GiB")


def is_round(value: Any) -> bool:
    """Whether a value is the number of a round, or -1 for none yet."""
    return type(value) is int and -1 <= value < 2**31


def is_accuracy(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def converted(method: Method, content: dict[str, Any], file: Path) -> ServerState:
    """The server state in a checkpoint's content.

    Raises:
        UserError: missing, extra or misshapen entries, or values that are not numbers; the first 20 named.
    """
    fresh = method.initial_state(0)
    spec = method.server_network
    problems: list[str] = []
    tensors = converted_rows(method, spec, fresh.tensors, content["server_model"]["server"], "", problems)
    clients = content["server_model"].get("clients") or []
    local: Tensors = {}
    if fresh.clients:
        expected = len(next(iter(fresh.clients.values())))
        if len(clients) != expected:
            raise UserError(
                f"file={file}: has own entries of {len(clients)} clients, the config has {expected} clients"
            )
        rows = {name: value[0] for name, value in fresh.clients.items()}
        each = [
            converted_rows(method, spec, rows, entries, f"client {number}: ", problems)
            for number, entries in enumerate(clients)
        ]
        local = {name: torch.stack([entries[name] for entries in each]) for name in rows}
    elif clients:
        problems.append(f"entries of {len(clients)} clients, which only model.bn=local has")
    if problems:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise UserError(
            f"file={file} does not fit algorithm={method.name} and its model: {'; '.join(problems[:NAMED])}{more}"
        )
    return ServerState(int(content.get("a_iter", -1)) + 1, tensors, fresh.server, local)


def converted_rows(
    method: Method, spec: NetworkSpec, like: Tensors, entries: dict[str, Any], where: str, problems: list[str]
) -> Tensors:
    """Tensors named and shaped like `like` from the entries of the reference; what is wrong is added to `problems`."""
    tensors: Tensors = {}
    unused = dict(entries)
    for name, value in like.items():
        rows = []
        for row in range(len(value)):
            key = reference_name(method, spec, row, name)
            entry = unused.pop(key, None)
            if not isinstance(entry, Tensor):
                problems.append(f"{where}{key} is missing")
            elif entry.layout != torch.strided or entry.is_meta or entry.is_quantized or entry.is_complex():
                problems.append(f"{where}{key} is no plain tensor of real numbers")
            elif entry.shape != value.shape[1:]:
                problems.append(f"{where}{key} has shape {list(entry.shape)} instead of {list(value.shape[1:])}")
            elif not torch.isfinite(entry).all():
                problems.append(f"{where}{key} has values that are not finite")
            else:
                rows.append(entry.to(value.dtype))
        if len(rows) == len(value):
            tensors[name] = torch.stack(rows)
    problems += [f"{where}{excerpt(key)} is unknown" for key in unused]
    return tensors
