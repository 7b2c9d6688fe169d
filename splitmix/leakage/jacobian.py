"""How an upload depends on the unknown images: products with the Jacobian J = du/dx, and what inverting it costs.

Zhang, Hong, Deng, Mahdavi, Zhou, "Understanding Deep Gradient Leakage via Inversion Influence Functions", NeurIPS 2023
(arXiv 2309.13016). J has a row per unknown pixel and a column per uploaded value, `[d, P]`. An attacker who inverts an
upload that noise `delta` was added to errs by about (J J^T)^-1 J delta (their Eq. 4), and at least by
|J delta| / lambda_max(J J^T) (Eq. 5). Here nothing is damped: their code adds 1 to the eigenvalues of J J^T, nearly all
of which are below 1, and ranks reconstructions backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh, lsqr
from torch import Tensor
from torch.func import grad, vmap

from splitmix.leakage.forward_mode import jvp
from splitmix.models.network import Tensors

Array = NDArray[np.float64]
Upload = Callable[[Tensor], Tensors]
"""What is uploaded, by name, as a function of the unknown images."""

LSQR_TOLERANCE = 1e-13
LSQR_STEPS_PER_PIXEL = 8
DENSE_ENTRIES = 2_000_000
"""Up to so many entries of J, its singular values are quicker than LSQR."""


@dataclass(frozen=True)
class UploadJacobian:
    """J of an upload at the true images, by products with it; float64.

    Attributes:
        upload: maps the unknown images to what is uploaded.
        images: the true unknown images, float64, in [0, 1].
    """

    upload: Upload
    images: Tensor

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """The shape of every uploaded tensor, in the order of J's columns."""
        return {name: value.shape for name, value in self.upload(self.images).items()}

    @property
    def pixels(self) -> int:
        """d, the number of unknown values."""
        return self.images.numel()

    @property
    def entries(self) -> int:
        """P, the number of uploaded values."""
        return sum(shape.numel() for shape in self.shapes.values())

    def forward(self, direction: Array | Tensor) -> Array:
        """J^T b `[P]`: how the upload changes along b `[d]`, by forward-mode differentiation."""
        tangent = torch.as_tensor(direction, dtype=torch.float64).view(self.images.shape)
        return self._flat(jvp(self.upload, (self.images,), (tangent,))[1])

    def backward(self, values: Array) -> Array:
        """J v `[d]`: the gradient by the images of <upload, v>, v `[P]`."""
        parts = self.named(values)

        def product(images: Tensor) -> Tensor:
            uploaded = self.upload(images)
            return torch.stack([(uploaded[name] * part).sum() for name, part in parts.items()]).sum()

        gradient: Tensor = grad(product)(self.images)
        return gradient.detach().reshape(-1).numpy()

    def rows(
        self, chunk: int = 32, pixels: Tensor | None = None, progress: Callable[[float], None] | None = None
    ) -> Tensor:
        """J `[d, P]`, so many rows at a time.

        Args:
            pixels: these rows alone.
            progress: told the share of the rows done after every chunk.
        """
        taken = torch.arange(self.pixels) if pixels is None else pixels

        def along(tangent: Tensor) -> Tensors:
            changes: Tensors = jvp(self.upload, (self.images,), (tangent,))[1]
            return changes

        rows = torch.empty(len(taken), self.entries, dtype=torch.float64)
        for start in range(0, len(taken), chunk):
            some = taken[start : start + chunk]
            unit = F.one_hot(some, self.pixels).double().view(-1, *self.images.shape)
            changes = vmap(along)(unit)
            rows[start : start + chunk] = torch.cat([changes[name].flatten(1) for name in self.shapes], 1).detach()
            if progress is not None:
                progress((start + len(some)) / len(taken))
        return rows

    @cached_property
    def decomposition(self) -> tuple[Tensor, Tensor, Tensor]:
        """J's singular vectors and values: `[d, k]`, `[k]` descending, `[k, P]`."""
        left, values, right = torch.linalg.svd(self.rows(), full_matrices=False)
        return left, values, right

    def largest_eigenvalue(self) -> float:
        """lambda_max of J J^T, by Lanczos in the space of pixels."""
        gram = LinearOperator(
            (self.pixels, self.pixels), matvec=lambda b: self.backward(self.forward(b)), dtype=np.float64
        )
        return float(eigsh(gram, k=1, which="LA", v0=np.ones(self.pixels), return_eigenvectors=False)[0])

    def bound(self, noise: Array) -> float:
        """|J noise| / lambda_max(J J^T), the lower bound of the error (Eq. 5), not per pixel; `noise` `[P]`."""
        return float(np.linalg.norm(self.backward(noise))) / self.largest_eigenvalue()

    def error(self, noise: Array, damping: float = 0.0, dense: bool | None = None) -> Array:
        """(J J^T + damping I)^+ J noise `[d]`: by how much each pixel of the inverted upload is off.

        Args:
            noise: what is added to the upload, `[P]`.
            damping: only to compare with others' numbers; the error of an attack is that without damping.
            dense: by the singular values of J (then directions below the rounding of the largest one are left out);
                otherwise by LSQR, about 1.3 to 2.7 d steps of two products each. None chooses by size.
        """
        noise = np.asarray(noise, np.float64)
        if dense or (dense is None and self.pixels * self.entries <= DENSE_ENTRIES):
            left, values, right = self.decomposition
            kept = values > rounding(values, self.pixels, self.entries)
            inverse = torch.where(kept, values / (values.square() + damping), 0.0)
            error: Array = (left @ (inverse * (right @ torch.from_numpy(noise)))).numpy()
            return error
        operator = LinearOperator(
            (self.entries, self.pixels), matvec=self.forward, rmatvec=self.backward, dtype=np.float64
        )
        most = LSQR_STEPS_PER_PIXEL * self.pixels
        solved = lsqr(operator, noise, np.sqrt(damping), LSQR_TOLERANCE, LSQR_TOLERANCE, conlim=0, iter_lim=most)
        return np.asarray(solved[0], np.float64)

    def named(self, values: Array) -> Tensors:
        """`[P]` as tensors by name."""
        flat = torch.as_tensor(np.asarray(values, np.float64).ravel())
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def _flat(self, tensors: Tensors) -> Array:
        return torch.cat([tensors[name].reshape(-1) for name in self.shapes]).detach().numpy()


def rounding(values: Tensor, *sizes: int) -> float:
    """Below this, singular values or eigenvalues (largest first) of a matrix of these sizes cannot be told from 0."""
    return float(values[0]) * max(sizes) * float(torch.finfo(values.dtype).eps)
