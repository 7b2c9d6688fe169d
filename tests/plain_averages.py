"""Averages as the tests expect them, entry by entry and one update after another."""

import torch


def holders_mean(updates, name, otherwise):
    """Of an entry the mean over the updates that hold it, all alike; `otherwise` where none does.

    Args:
        updates: their tensors are the first entries of the server's in every dimension.
    """
    total, count = torch.zeros_like(otherwise), torch.zeros_like(otherwise)
    for update in updates:
        if name in update.tensors:
            corner = tuple(slice(size) for size in update.tensors[name].shape)
            total[corner] += update.tensors[name]
            count[corner] += 1
    return torch.where(count > 0, total / count.clamp(min=1), otherwise)
