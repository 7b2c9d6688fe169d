"""What networks over lanes share that are made of a user's ordinary network."""

from __future__ import annotations

import torch
from torch import nn

from splitmix.errors import UserError
from splitmix.models.network import LaneNetwork, NetworkSpec
from splitmix.models.norms import LaneBatchNorm
from splitmix.models.prototype import Source
from splitmix.models.rescaling import Rescaling, rescaling_of

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class OwnNetwork(LaneNetwork):
    """Lanes of a network that a factory makes; layers and entries are named as in the ordinary network."""

    def __init__(self, lanes: int, spec: NetworkSpec, source: Source):
        super().__init__(lanes)
        self.spec, self.source = spec, source
        self.rescaling: Rescaling = rescaling_of(source, spec)

    def adopt(self, module: nn.Module) -> None:
        """Make the layers and tensors of a module this network's: from now on both hold the same.

        Raises:
            UserError: one has a name that a network over lanes needs itself.
        """
        for name in [*module._modules, *module._parameters, *module._buffers]:
            if hasattr(self, name):
                raise UserError(f"{self.source.label}: no layer can have the name {name}; call it otherwise")
        for part in module.modules():
            # Other buffers than running statistics are constants: neither trained nor averaged.
            if not isinstance(part, LaneBatchNorm):
                part._non_persistent_buffers_set.update(part._buffers)
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self._non_persistent_buffers_set = module._non_persistent_buffers_set

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Every lane begins as a network that the factory makes anew, from a seed of the lane's own."""
        super().reset_parameters(generator)  # for what the ordinary network lacks, such as FiLM
        lanes = self.state_dict()
        for lane, seed in enumerate(torch.randint(1 << 62, (self.lanes,), generator=generator).tolist()):
            initial = dict(self.source.make(seed).named_parameters())
            self.rescaling.scale_initial(initial)
            for name, value in lanes.items():
                # Both branches of a norm begin as the ordinary norm.
                ordinary = name.replace(".clean.", ".").replace(".adv.", ".")
                if ordinary in initial:
                    value[lane].copy_(initial[ordinary])


def replace_layer(module: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer in the place of that with this path."""
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)
