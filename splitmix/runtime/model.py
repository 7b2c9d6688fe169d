"""A bundle run by onnxruntime, base model by base model, as far as its parts are present."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from splitmix.errors import UserError
from splitmix.runtime.anytime import AnytimeModel
from splitmix.runtime.images import Array
from splitmix.runtime.manifest import GRAPH, Manifest, read_checked, read_manifest
from splitmix.runtime.parts import tensors_of


def load(folder: str | Path, threads: int = 1) -> RuntimeModel:
    """Read a bundle; its weights are read when they are first needed.

    Args:
        folder: of the bundle; the parts of the widest base models may be missing.
        threads: that a base model is computed with.

    Raises:
        UserError: no bundle, a damaged one, or onnxruntime is missing.
    """
    manifest = read_manifest(Path(folder))
    if not manifest.held:
        manifest.check_held(1, 0)
    return RuntimeModel(manifest, Sessions(manifest, threads))


class Sessions:
    """The base models of a bundle in onnxruntime, each loaded and checked when it is first asked for.

    Attributes:
        read: numbers of the base models whose parts were read.
    """

    def __init__(self, manifest: Manifest, threads: int):
        try:
            import onnxruntime
        except ImportError:
            raise UserError("splitmix.runtime needs onnxruntime: pip install 'splitmix[onnx]'") from None
        self.runtime: Any = onnxruntime
        self.manifest, self.threads, self.lock = manifest, threads, Lock()
        entry = manifest.values["graph"]
        self.graph = read_checked(manifest.folder, GRAPH, entry["bytes"], entry["sha256"])
        self.sessions: dict[int, tuple[Any, Any]] = {}

    @property
    def read(self) -> list[int]:
        return sorted(self.sessions)

    def session(self, number: int) -> Any:
        """The session of one base model.

        Raises:
            UserError: its part is missing, truncated or altered.
        """
        if number not in self.sessions:
            with self.lock:
                if number not in self.sessions:
                    self.sessions[number] = self.start(number)
        return self.sessions[number][0]

    def start(self, number: int) -> tuple[Any, Any]:
        """A session of one graph for all base models, with the weights of this one."""
        part = self.manifest.parts[number]
        content = read_checked(self.manifest.folder, part.file, part.bytes, part.sha256)
        weights = tensors_of(content, part.file)
        values = {name: self.runtime.OrtValue.ortvalue_from_numpy(value) for name, value in weights.items()}
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        options.add_external_initializers(list(values), list(values.values()))
        try:
            session = self.runtime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever onnxruntime meets
            text = " ".join(str(error).split())[:200]
            raise UserError(f"{part.file} does not fit {GRAPH} ({text}): fetch the bundle again") from error
        return session, values  # which the session reads from


class RuntimeModel(AnytimeModel):
    """A handle on a bundle in onnxruntime; see `AnytimeModel`. `load` makes the first one, at the widest width held."""

    def __init__(self, manifest: Manifest, sessions: Sessions, base_models: int | None = None):
        super().__init__(manifest, base_models or manifest.held)
        self.sessions = sessions
        self.present = manifest.held

    @property
    def held(self) -> int:
        if self.present < len(self.manifest.parts):
            self.present = self.manifest.held  # parts may have come since
        return self.present

    def handle(self) -> RuntimeModel:
        other = RuntimeModel(self.manifest, self.sessions, self.base_models)
        other.adv_lambda = self.adv_lambda
        return other

    def base_logits(self, images: Array, number: int) -> Array:
        inputs = {"image": images}
        if self.manifest.dual:
            inputs["adv_lambda"] = np.array(self.adv_lambda, np.float32)
        [logits] = self.sessions.session(number).run(["logits"], inputs)
        return np.asarray(logits)
