"""`splitmix.ElasticModel`: a bundle in PyTorch, whose width and robustness are set on the spot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitmix.binding import bind
from splitmix.bundle.extras import imported
from splitmix.bundle.files import new_folder
from splitmix.errors import UserError
from splitmix.models.fixed_norms import set_level, with_fixed_norms
from splitmix.models.network import LaneNetwork, NetworkSpec, Tensors
from splitmix.runtime.anytime import AnytimeModel
from splitmix.runtime.images import Array
from splitmix.runtime.manifest import GRAPH, MANIFEST, MODEL, Manifest, read_checked, read_manifest
from splitmix.runtime.parts import tensors_of
from splitmix.trusted import trusted_code

CARD = "README.md"
SMALL_FILES = (MANIFEST, CARD, GRAPH, MODEL)
"""What every download of a bundle holds beside parts."""


class ElasticModel(AnytimeModel):
    """A handle on the base models of a bundle in PyTorch; `from_pretrained` makes the first one.

    `set` turns the dials in microseconds; `predict`, `stream` and `fit` are those of `AnytimeModel`; calling it with a
    float tensor `[n, channels, h, w]` gives logits `[n, classes]`, with gradients by the images. Handles made by
    `handle()` share the weights; use one per thread.
    """

    def __init__(self, manifest: Manifest, network: LaneNetwork, base_models: int | None = None):
        super().__init__(manifest, base_models or network.lanes)
        self.network = network
        lanes = range(network.lanes)
        # Views on the same memory, made once, so that setting a width only picks one.
        self.mixes = [network.lane_view(0, count + 1).requires_grad_(False) for count in lanes]
        self.singles = [network.lane_view(number, number + 1).requires_grad_(False) for number in lanes]

    @property
    def held(self) -> int:
        return self.network.lanes

    def handle(self) -> ElasticModel:
        other = ElasticModel(self.manifest, self.network, self.base_models)
        other.adv_lambda = self.adv_lambda
        return other

    @property
    def module(self) -> LaneNetwork:
        """The network of the set position, `[n, channels, h, w]` to logits `[base models, n, classes]`."""
        network = self.mixes[self.base_models - 1]
        set_level(network, self.adv_lambda)
        return network

    def __call__(self, images: Tensor) -> Tensor:
        """Float images `[n, channels, h, w]` in [0, 1] to logits `[n, classes]`."""
        logits: Tensor = self.module(images)
        return logits.mean(0)

    def mixed_logits(self, images: Array, count: int) -> Array:
        return self.computed(self.mixes[count - 1], images)

    def base_logits(self, images: Array, number: int) -> Array:
        return self.computed(self.singles[number], images)

    @torch.inference_mode()
    def computed(self, network: LaneNetwork, images: Array) -> Array:
        """Mean of the logits of a network's lanes at the set level."""
        set_level(network, self.adv_lambda)
        return np.asarray(network(torch.from_numpy(images)).mean(0).numpy())

    @classmethod
    def from_pretrained(
        cls,
        folder_or_id: str | os.PathLike[str],
        *,
        width: float | None = None,
        trust: Sequence[str] = (),
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> ElasticModel:
        """Read a bundle: a folder, or a repository on the Hugging Face Hub.

        Args:
            folder_or_id: a folder is read without any network; anything else is the name of a repository.
            width: read (and download) no more parts than this width needs; None takes all that are there.
            trust: a network factory of your own that the bundle may name, as `package.module.function`.
            revision, token, cache_dir: of the Hub, as `huggingface_hub` takes them.

        Raises:
            UserError: no bundle, a damaged, altered or newer one, a width that it cannot give, code that is not
                trusted; an unknown repository, no network, or `huggingface_hub` is missing.
        """
        folder = Path(folder_or_id)
        if not folder.exists():
            folder = downloaded(str(folder_or_id), width, revision=revision, token=token, cache_dir=cache_dir)
        manifest = read_manifest(folder)
        count = manifest.held if width is None else manifest.count(width)
        manifest.check_held(max(count, 1), manifest.held)
        return cls(manifest, network_of(manifest, count, trust))

    load = from_pretrained

    def save_pretrained(self, folder: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the bundle to another folder, with the parts that are held.

        Raises:
            UserError: the folder exists (and no `force`), or cannot be written.
        """
        out = Path(folder)
        if os.path.lexists(out) and not (force and (out / MANIFEST).is_file()):
            raise UserError(f"{out}: exists; choose another folder, or force=True to replace a bundle")
        with new_folder(out) as fresh:
            (fresh / "parts").mkdir()
            for file in (*SMALL_FILES, *(part.file for part in self.manifest.parts[: self.held])):
                if (self.manifest.folder / file).is_file():
                    shutil.copyfile(self.manifest.folder / file, fresh / file)
        return out

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload a splitmix bundle",
        revision: str | None = None,
    ) -> str:
        """Upload the bundle to the Hugging Face Hub; the arguments are those of huggingface_hub's mixin.

        Returns:
            The address of the commit.

        Raises:
            UserError: `huggingface_hub` is missing.
        """
        hub = imported("huggingface_hub", "hub", f"push_to_hub({repo_id!r})")
        api = hub.HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        files = [*SMALL_FILES, *(part.file for part in self.manifest.parts[: self.held])]
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(self.manifest.folder),
            allow_patterns=files,
            commit_message=commit_message,
            revision=revision,
        )
        return str(commit.commit_url)


def downloaded(repo_id: str, width: float | None, **arguments: Any) -> Path:
    """A repository of the Hub as a folder, with the parts of a width alone.

    Raises:
        UserError: no such folder or repository, or no network.
    """
    what = f"{repo_id} is no folder here, and a repository of the Hugging Face Hub"
    hub = imported("huggingface_hub", "hub", what)
    try:
        folder = Path(hub.snapshot_download(repo_id, allow_patterns=[MANIFEST], **arguments))
        manifest = read_manifest(folder)
        count = len(manifest.parts) if width is None else manifest.count(width)
        files = [*SMALL_FILES, *(part.file for part in manifest.parts[:count])]
        return Path(hub.snapshot_download(repo_id, allow_patterns=files, **arguments))
    except UserError:
        raise
    except Exception as error:  # whatever the Hub's client meets: names, rights, network
        text = " ".join(str(error).split())[:200]
        raise UserError(f"{repo_id}: no folder here, and the Hugging Face Hub does not give it ({text})") from error


def network_of(manifest: Manifest, count: int, trust: Sequence[str]) -> LaneNetwork:
    """The first base models of a bundle as one network over lanes.

    Raises:
        UserError: a part that is missing, damaged, altered or of other shapes; code that is not trusted.
    """
    spec = spec_of(manifest, trust)
    lanes: list[Tensors] = []
    for part in manifest.parts[:count]:
        content = read_checked(manifest.folder, part.file, part.bytes, part.sha256)
        arrays = tensors_of(content, part.file)
        lanes.append({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})
    network = with_fixed_norms(spec, count)
    for name, value in network.state_dict().items():
        for number, lane in enumerate(lanes):
            if name not in lane or lane[name].numel() != value[number].numel():
                raise UserError(f"{manifest.parts[number].file}: {name} is missing or of another size; fetch it again")
            value[number].copy_(lane[name].view_as(value[number]))
    return network


def spec_of(manifest: Manifest, trust: Sequence[str]) -> NetworkSpec:
    """The network of one base model, as the manifest describes it; imports splitmix's own code and what is trusted."""
    training = manifest.values.get("training")
    node = training.get("model") if isinstance(training, dict) else None
    model = bind(node, "model", trusted_code(trust))
    model.check(manifest.input_shape, manifest.widths[0])
    spec = NetworkSpec(model, manifest.widths[0], manifest.input_shape, len(manifest.classes), bn="tracked")
    return replace(spec, norm="dual") if manifest.dual else spec
