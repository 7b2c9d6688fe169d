"""How much memory a forward pass keeps for its backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def storage_of(tensor: Tensor) -> tuple[int, int]:
    """Where the memory of a tensor begins, and its bytes."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


class KeptTensors:
    """Counts, as a context, the bytes that autograd keeps for backward passes, each memory once.

    Forward passes in it must not use `torch.func`, which knows no such count.

    Args:
        others: tensors that are counted elsewhere.

    Attributes:
        most: the most bytes kept at once.
    """

    def __init__(self, others: Iterable[Tensor]):
        self.users: Counter[tuple[int, int]] = Counter()
        self.elsewhere = {storage_of(tensor) for tensor in others}
        self.now = self.most = 0
        self.hooks = saved_tensors_hooks(self.keep, Kept.back)

    def __enter__(self) -> KeptTensors:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def keep(self, tensor: Tensor) -> Kept:
        """What autograd is given instead of the tensor."""
        return Kept(self, tensor)


class Kept:
    """A tensor that autograd keeps until this is gone."""

    def __init__(self, counts: KeptTensors, tensor: Tensor):
        self.counts, self.tensor, self.storage = counts, tensor, storage_of(tensor)
        counts.users[self.storage] += 1
        if counts.users[self.storage] == 1 and self.storage not in counts.elsewhere:
            counts.now += self.storage[1]
            counts.most = max(counts.most, counts.now)

    def back(self) -> Tensor:
        """The tensor."""
        return self.tensor

    def __del__(self) -> None:
        self.counts.users[self.storage] -= 1
        if not self.counts.users[self.storage] and self.storage not in self.counts.elsewhere:
            self.counts.now -= self.storage[1]
