"""Base models of several widths in one lane, which see the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from splitmix.models.network import LaneNetwork, NetworkSpec


class SideBySide(LaneNetwork):
    """The networks of some architectures; the logits of a lane are the mean of theirs.

    Entries are named by place: `members.0.conv1.weight`.
    """

    def __init__(self, lanes: int, specs: Sequence[NetworkSpec]):
        super().__init__(lanes)
        self.members = nn.ModuleList([spec.build(lanes) for spec in specs])

    def networks(self) -> list[LaneNetwork]:
        """Each by itself, as many lanes of it."""
        return [member for member in self.members if isinstance(member, LaneNetwork)]

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in self.networks()]).mean(0)

    def reset_parameters(self, generator: torch.Generator) -> None:
        for network in self.networks():
            network.reset_parameters(generator)

    def draw_from(self, streams: Sequence[np.random.Generator]) -> None:
        for network in self.networks():
            network.draw_from(streams)


def entry(member: int, name: str) -> str:
    """The name of an entry of the member at a place."""
    return f"members.{member}.{name}"


def member_of(name: str) -> tuple[int, str]:
    """The place of the member that an entry belongs to, and what the entry is called in that member."""
    _, place, rest = name.split(".", 2)
    return int(place), rest
