"""`model=module`: a user's own network, an ordinary `nn.Module` that a function of the width makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from splitmix.binding import shown
from splitmix.errors import UserError
from splitmix.models.checks import check_bn
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.own_network import BATCH_NORMS
from splitmix.models.packed import PackedNetwork
from splitmix.models.prototype import Source, factory_of, growing_dims, prototype
from splitmix.models.tracing import Traced, traced
from splitmix.models.unpacked import UnpackedNetwork, stackable

PACKINGS = ("auto", "packed", "stacked", "separate")


@dataclass(frozen=True)
class Module:
    """Settings of `model=module`.

    Attributes:
        factory: `package.module.function`, or from Python the function itself. It takes the keywords `width` in
            (0, 1], `input_shape` (channels, height, width) and `classes`, and returns a network from float images
            `[n, channels, h, w]` in [0, 1] to logits `[n, classes]`. Only sizes may change with the width.
        bn: mode of its batch normalisation: `batch`, `tracked` or `local`, as for the other networks.
        packing: how lanes are computed: `packed`, side by side in layers over lanes, needs layers that are known;
            `stacked` by `torch.func.vmap`; `separate`, one after another; `auto` takes the first that is possible.
    """

    name: ClassVar[str] = "module"

    factory: Any = None
    bn: str = "batch"
    packing: str = "auto"

    def check(self, input_shape: tuple[int, int, int], width: float) -> None:
        """Raise UserError for settings out of range, or no such factory. What it makes is checked by `build`."""
        check_bn(self.bn)
        if self.packing not in PACKINGS:
            raise UserError(f"model.packing={shown(self.packing)}: choose one of {', '.join(PACKINGS)}")
        factory_of(self.factory)

    def build(self, lanes: int, spec: NetworkSpec) -> LaneNetwork:
        """The network over lanes.

        Raises:
            UserError: the factory fails, or makes a network that this spec or `packing` cannot do with.
        """
        source = Source(self.factory, spec.width, spec.input_shape, spec.classes)
        if spec.width < 1 and not any(growing_dims(source, 1.0).values()):
            raise UserError(
                f"{source.label}: makes the same network at width {spec.width:g} and at 1; let its sizes grow with"
                " the width, or train it whole by algorithm=fedavg algorithm.width=1"
            )
        followed = traced(source)
        if spec.norm != "plain" and not any(isinstance(part, BATCH_NORMS) for part in prototype(source).modules()):
            raise UserError(
                f"{source.label}: the network has no batch normalisation, which a level of robustness needs; set"
                " algorithm.adv_lambda to 0 or 1, or add nn.BatchNorm2d"
            )
        if spec.slice and (why := followed if isinstance(followed, str) else followed.unsliceable):
            raise UserError(
                f"{source.label}: the first channels of its layers are no narrower network ({why}), so it cannot be"
                " trained in slices; use algorithm=splitmix or algorithm=fedavg"
            )
        if self.packing in ("auto", "packed") and isinstance(followed, Traced):
            return PackedNetwork(lanes, spec, source)
        if self.packing == "packed":
            raise UserError(f"{source.label}: its lanes cannot be packed ({followed}); use model.packing=auto")
        stacked = self.packing != "separate" and stackable(source)
        if self.packing == "stacked" and not stacked:
            raise UserError(f"{source.label}: torch.func cannot stack its lanes; use model.packing=auto")
        return UnpackedNetwork(lanes, spec, source, stacked)
