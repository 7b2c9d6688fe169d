"""What a prediction depends on beside its own image, told by the norms that a network has."""

from __future__ import annotations

from splitmix.models.network import NetworkSpec, batch_norm_entries, entries_of
from splitmix.models.norms import LaneBatchNorm
from splitmix.models.packed_layers import LaneGroupNorm, LaneLayerNorm
from splitmix.models.tokens import TokenNorm

NORMS = (LaneBatchNorm, TokenNorm, LaneGroupNorm, LaneLayerNorm)


def has_batch_norm(spec: NetworkSpec) -> bool:
    """Whether some layer normalises over the images of a batch."""
    return bool(batch_norm_entries(spec))


def predicts_alone(spec: NetworkSpec) -> bool:
    """Whether no prediction depends on its batch: running statistics, or no batch normalisation."""
    return spec.tracked or not has_batch_norm(spec)


def needs_calibration(spec: NetworkSpec) -> bool:
    """Whether one model for all needs statistics estimated on images: it has no running ones, or clients keep them."""
    return spec.bn != "tracked" and has_batch_norm(spec)


def norm_entries(spec: NetworkSpec) -> frozenset[str]:
    """Names of the entries of all normalisation over lanes, affine ones included."""
    return entries_of(spec, NORMS)
