"""A client's node: answers the server's requests with its own images and its own memory. It knows no network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import yaml

from splitmix.algorithms.method import Method
from splitmix.algorithms.plain_data import tensors_of
from splitmix.algorithms.values import ClientTask, ServerState
from splitmix.binding import CODE_KEYS, Trusted
from splitmix.config import COMPONENTS, RunConfig, conf_dir, load_run_config
from splitmix.data.dataset import ImageSet
from splitmix.deploy.messages import EVALUATE, HELLO, TRAIN, BadMessage, packed, unpacked
from splitmix.deploy.node_data import NodeData, load_node_data
from splitmix.deploy.node_memory import NodeMemory
from splitmix.deploy.node_settings import NodeSettings
from splitmix.deploy.problem import bound_method
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.evaluation.statistics import POST_PASSES
from splitmix.evaluation.task import EvaluationTask
from splitmix.federation.client_side import ClientSettings, client_update
from splitmix.federation.sampling import DrawnBatches, eval_batches

log = logging.getLogger("splitmix")


class Node:
    """One client on its own device.

    Args:
        settings: its own YAML.
    """

    def __init__(self, settings: NodeSettings):
        self.settings = settings
        self.runs: dict[str, NodeRun] = {}

    def answer(self, request: bytes) -> bytes:
        """The answer to a request of the server; a mistake of settings or data is answered in words."""
        start, kind = perf_counter(), "unknown"
        try:
            content = unpacked(request)
            kind = str(content["kind"])
            handle = {HELLO: NodeRun.hello, TRAIN: NodeRun.train, EVALUATE: NodeRun.evaluate}[kind]
            result = handle(self.run(content), content)
        except (UserError, BadMessage, KeyError) as error:
            log.warning(f"{kind}: {error}")
            result = {"error": f"{'' if isinstance(error, UserError | BadMessage) else 'no such key: '}{error}"}
        return packed(kind, {**result, "client": self.settings.client, "seconds": perf_counter() - start})

    def run(self, content: Mapping[str, Any]) -> NodeRun:
        """The run that a request is of; images are loaded once."""
        key = json.dumps([content["run"], content["config"]], sort_keys=True)
        if key not in self.runs:
            self.runs = {key: NodeRun(self.settings, str(content["run"]), content["config"])}
        return self.runs[key]


class NodeRun:
    """A node's part in one run.

    Args:
        settings: the node's own.
        name: of the run: hex digits.
        config: the run's resolved config, from the server; only code that this node trusts is imported for it.
    """

    def __init__(self, settings: NodeSettings, name: str, config: Mapping[str, Any]):
        if not name.isalnum() or len(name) > 40:
            raise BadMessage("the name of the run is none")
        self.settings = settings
        self.folder = Path(settings.memory) / name
        # Where files lie and how fast this device works, the node decides itself.
        dataset = {**config["dataset"], "root": settings.root}
        self.config: RunConfig = load_run_config({**config, "dataset": dataset}, trusted_on_node(settings.trust))
        self.engine = EngineSettings(
            accelerator=settings.accelerator,
            precision=self.config.engine.precision,
            lanes=self.config.engine.lanes,
            workers=1,
            threads=settings.threads,
        )
        self.engine.check()
        torch.set_num_threads(self.engine.cpu_threads)

    @cached_property
    def data(self) -> NodeData:
        return load_node_data(self.config, self.settings)

    def hello(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Who this is, and what the server may know of its images."""
        return {"images": self.data.facts.to_dict()}

    def method(self, content: Mapping[str, Any]) -> Method:
        return bound_method(self.config, self.data.facts, [float(budget) for budget in content["budgets"]])

    def memory(self, method: Method, client: int) -> NodeMemory:
        """What this client remembers of the run."""
        state = method.initial_state(self.config.scalars.seed)
        first = {name: value[0] for name, value in state.rows([client]).items()}
        return NodeMemory(self.folder / self.settings.client, first, bool(state.local))

    def train(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Train the task of a round; the update that is sent, and the memory that stays."""
        method, scalars = self.method(content), self.config.scalars
        task = ClientTask.from_dict(content["task"], self.config.model)
        memory = self.memory(method, task.client)
        settings = ClientSettings(
            self.config.optimizer,
            scalars.batch_size,
            scalars.local_epochs,
            content["fixed_steps"],
            scalars.seed,
            self.data.augmentation,
            self.engine.lanes if isinstance(self.engine.lanes, int) else None,
        )
        before = memory.load(content["accepted"])
        update, after = client_update(method, task, before, self.data.train, settings, content["lr"], self.engine)
        # On the disk before the answer leaves: an update that the server takes must not outlive its memory.
        memory.save(task.round, after, content["accepted"])
        return {"update": None if update is None else update.to_dict()}

    def evaluate(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Accuracy of the server's customised models on this client's validation or test images."""
        method, client = self.method(content), int(content["number"])
        memory = self.memory(method, client).load(content["accepted"])
        tensors = tensors_of(content["tensors"])
        # The draws of an attack go by the client's number, so that the memory is put where it stands in a federation.
        attack = self.config.train_attack.validation if content["attacked"] else None
        first = client if attack else 0
        clients = {name: value.expand(first + 1, *value.shape) for name, value in memory.items() if name in tensors}
        images = self.data.test if content["split"] == "test" else self.data.val
        rows = torch.arange(len(images.images))[: content["most"]]
        calibration = None
        if content["bn"] == "post":
            everyone = torch.arange(len(self.data.train.images))
            size, keys = self.config.scalars.batch_size, ("post", client)
            calibration = [DrawnBatches(everyone, size, POST_PASSES, None, self.config.scalars.seed, keys)]
        task = EvaluationTask(
            widths=tuple(content["widths"]),
            split="test",
            batches=[eval_batches(rows, content["batch_size"])],
            calibration=calibration,
            adv_lambda=content["adv_lambda"],
            attack=attack,
            first=first,
            rounds=content["round"],
        )
        state = ServerState(content["round"], tensors, clients=clients)
        device = self.engine.own_place().device

        def on_device(part: ImageSet) -> ImageSet:
            return ImageSet(part.images.to(device), part.labels.to(device), part.counts)

        train, evaluated = on_device(self.data.train), on_device(images)
        accuracy = task.run(method, state, train, evaluated, 1, self.engine.dtype, self.config.scalars.seed)
        return {
            "per_client": accuracy.per_client[0].tolist(),
            "per_base": accuracy.per_base[0].tolist(),
            "n_images": accuracy.n_images,
        }


def trusted_on_node(named: tuple[str, ...]) -> Trusted:
    """By config group the code that a server's config may have imported here: splitmix's own, and what is named."""
    trusted: dict[str, set[str]] = {group: set(named) for group in COMPONENTS}
    for group in trusted:
        for file in (conf_dir() / group).glob("*.yaml"):
            node = yaml.safe_load(file.read_text(encoding="utf-8"))
            trusted[group] |= {node[key] for key in CODE_KEYS if isinstance(node.get(key), str)}
    return trusted
