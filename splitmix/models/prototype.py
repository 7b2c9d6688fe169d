"""A user's own network as its factory makes it: called, checked, and kept without weights."""

from __future__ import annotations

import copy
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from splitmix.errors import UserError
from splitmix.models.norms import BN_EPS, BN_MOMENTUM

Factory = str | Callable[..., nn.Module]
KEY = "model.factory"
NEEDED = "a function (width, input_shape, classes) that returns an nn.Module"


@dataclass(frozen=True)
class Source:
    """A factory and what it is called with."""

    factory: Factory
    width: float
    input_shape: tuple[int, int, int]
    classes: int

    @property
    def label(self) -> str:
        """How errors begin."""
        return f"{KEY}={name_of(self.factory)}"

    def make(self, seed: int = 0) -> nn.Module:
        """Call the factory; whatever it draws (with torch, NumPy or random) follows from the seed.

        Raises:
            UserError: no such function, or it fails.
        """
        factory = factory_of(self.factory)
        # On the CPU, whatever device is asked for around it: factories may compute with what they make.
        with isolated(seed), torch.device("cpu"), failing(f"{self.label}: failed for {self.arguments}"):
            module = factory(width=self.width, input_shape=self.input_shape, classes=self.classes)
        if not isinstance(module, nn.Module):
            raise UserError(f"{self.label}: returns {type(module).__name__}; it must be {NEEDED}")
        return module

    @property
    def arguments(self) -> str:
        """What the factory is called with, for people."""
        return f"width={self.width:g}, input_shape={self.input_shape}, classes={self.classes}"


@contextmanager
def isolated(seed: int = 0) -> Iterator[None]:
    """Generators of torch, NumPy and random at this seed; what others drew from them goes on afterwards."""
    from pytorch_lightning.utilities.seed import isolate_rng  # which takes a second to import

    with isolate_rng(include_cuda=False):
        torch.manual_seed(seed)
        np.random.seed(seed % (1 << 32))
        random.seed(seed)
        yield


def name_of(factory: Factory) -> str:
    """The dotted name of a factory."""
    if isinstance(factory, str):
        return factory
    return f"{getattr(factory, '__module__', '')}.{getattr(factory, '__qualname__', type(factory).__name__)}"


def factory_of(factory: Any) -> Callable[..., nn.Module]:
    """The function that `model.factory` names.

    Raises:
        UserError: none is named, it cannot be imported, or it takes other arguments.
    """
    if factory is None or factory == "":
        raise UserError(f"{KEY}=null: name the function that makes your network, {KEY}=package.module.function")
    function = factory
    if isinstance(factory, str):
        module, _, name = factory.rpartition(".")
        try:
            function = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"{KEY}={factory}: cannot be imported ({error}); write package.module.function, with --config-dir DIR"
                " for code that lies beside DIR"
            ) from error
    try:
        inspect.signature(function).bind(width=1.0, input_shape=(3, 32, 32), classes=10)
    except (TypeError, ValueError) as error:
        raise UserError(f"{KEY}={name_of(factory)}: {error}; it must be {NEEDED}") from error
    return function


@contextmanager
def failing(what: str) -> Iterator[None]:
    """What goes wrong in a user's own code, in one line with its place."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(sys.exc_info()[2]) if not _of_library(frame.filename)]
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        raise UserError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}{place}") from error


def _of_library(path: str) -> bool:
    return "site-packages" in path or "/splitmix/models/" in path or path.startswith("<")


@lru_cache(maxsize=64)
def prototype(source: Source) -> nn.Module:
    """The network without memory for its parameters, checked. Copy it before changing it.

    Raises:
        UserError: the factory fails, or makes what cannot be trained over lanes.
    """
    module = source.make()
    entries: dict[int, str] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for name, value in part._parameters.items():
            if value is None:
                continue
            entry = f"{path}.{name}" if path else name
            _check_parameter(source, entry, value)
            if id(value) in entries:
                raise UserError(f"{source.label}: {entries[id(value)]} and {entry} are one parameter; they must be two")
            entries[id(value)] = entry
        _check_norm(source, path, part)
    if not entries:
        raise UserError(f"{source.label}: the network has no parameter to train")
    with isolated(), torch.device("cpu"):
        check_run(source, copy.deepcopy(module).float())
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(torch.empty_like(value, device="meta", dtype=torch.float32))
    return module


def _check_parameter(source: Source, entry: str, value: Tensor) -> None:
    if is_lazy(value):
        raise UserError(f"{source.label}: {entry} has no size yet; use layers that are not lazy")
    if not value.requires_grad:
        raise UserError(f"{source.label}: the parameter {entry} is frozen; register what is not trained as a buffer")
    if not value.is_floating_point():
        raise UserError(f"{source.label}: the parameter {entry} has type {value.dtype}; it must be a float type")


def _check_norm(source: Source, path: str, part: nn.Module) -> None:
    """Batch normalisation gives way to splitmix's own, which must compute the same."""
    if isinstance(part, _BatchNorm):
        if type(part) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            raise UserError(f"{source.label}: {path} is a {type(part).__name__}; use nn.BatchNorm1d or nn.BatchNorm2d")
        if (part.eps, part.momentum, part.affine) != (BN_EPS, BN_MOMENTUM, True):
            raise UserError(
                f"{source.label}: {path} has eps={part.eps:g}, momentum={part.momentum}, affine={part.affine};"
                f" batch normalisation must have PyTorch's eps={BN_EPS:g}, momentum={BN_MOMENTUM:g}, affine=True"
            )
    elif isinstance(part, nn.modules.instancenorm._InstanceNorm) and part.track_running_stats:
        raise UserError(f"{source.label}: {path} tracks statistics; use track_running_stats=False")


def check_run(source: Source, module: nn.Module) -> None:
    """Raise UserError unless two images give logits `[2, classes]`, and only batch normalisation keeps anything."""
    images = torch.rand(2, *source.input_shape)
    norms = {path for path, part in module.named_modules() if isinstance(part, _BatchNorm)}
    for training in (True, False):
        before = {name: (id(value), value._version) for name, value in module.named_buffers()}
        with failing(f"{source.label}: forward fails for images {[2, *source.input_shape]}"), torch.no_grad():
            logits = module.train(training)(images)
        if not isinstance(logits, Tensor) or logits.shape != (2, source.classes):
            made = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"{source.label}: of two images forward makes {made}; it must return logits {[2, source.classes]}"
            )
        for name, value in module.named_buffers():
            if name.rpartition(".")[0] not in norms and before.get(name) != (id(value), value._version):
                raise UserError(f"{source.label}: forward changes the buffer {name}; only batch normalisation may")


@lru_cache(maxsize=64)
def growing_dims(source: Source, other_width: float) -> dict[str, tuple[int, ...]]:
    """The dimensions of every parameter whose size differs at another width, by name.

    Raises:
        UserError: the factory makes other parameters there.
    """
    here = dict(prototype(source).named_parameters())
    other = Source(source.factory, other_width, source.input_shape, source.classes)
    there = dict(prototype(other).named_parameters())
    for name in (here.keys() ^ there.keys()) or (name for name in here if here[name].dim() != there[name].dim()):
        raise UserError(
            f"{source.label}: at width {source.width:g} and {other_width:g} it makes different layers ({name}); only"
            " sizes may change with the width"
        )
    return {
        name: tuple(dim for dim in range(value.dim()) if value.shape[dim] != there[name].shape[dim])
        for name, value in here.items()
    }
