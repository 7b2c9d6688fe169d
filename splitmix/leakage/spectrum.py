"""The spectrum of J J^T, and the errors that follow from it for noise of one size on every uploaded value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitmix.leakage.jacobian import rounding

QR_COLUMNS = 8
"""Up to so many columns of J per row, its singular values are computed; beyond, the eigenvalues of J J^T."""


@dataclass(frozen=True)
class Factor:
    """A square matrix that stands for J: R with R^T R = J J^T, or J J^T itself.

    Attributes:
        matrix: `[d, d]`.
        triangular: it is R, whose singular values are those of J: small ones are exact to rounding of the largest
            one. Those of J J^T are exact to rounding of its largest one, which is its square.
        columns: P, the columns of J.
    """

    matrix: Tensor
    triangular: bool
    columns: int

    @classmethod
    def of(cls, rows: Tensor, columns: int | None = None) -> Factor:
        """Of J `[d, P]`, or of a matrix with the same J J^T and fewer columns.

        Args:
            columns: P, where `rows` has fewer.
        """
        pixels, width = rows.shape
        if pixels <= width <= QR_COLUMNS * pixels:
            return cls(torch.linalg.qr(rows.T, mode="r")[1], True, columns or width)
        return cls(rows @ rows.T, False, columns or width)

    @classmethod
    def together(cls, factors: Sequence[Factor]) -> Factor:
        """Of the Jacobians of several base models side by side."""
        columns = sum(factor.columns for factor in factors)
        if all(factor.triangular for factor in factors):
            return cls(torch.linalg.qr(torch.cat([factor.matrix for factor in factors]), mode="r")[1], True, columns)
        return cls(torch.stack([factor.gram() for factor in factors]).sum(0), False, columns)

    def gram(self) -> Tensor:
        """J J^T."""
        return self.matrix.T @ self.matrix if self.triangular else self.matrix

    def scaled(self, factor: float) -> Factor:
        """Of `factor` times J."""
        return Factor(self.matrix * (factor if self.triangular else factor**2), self.triangular, self.columns)

    def spectrum(self) -> Spectrum:
        """Its eigenvalues and its rank."""
        if self.triangular:
            values = torch.linalg.svdvals(self.matrix)
            rank = int((values > rounding(values, len(values), self.columns)).sum())
            return Spectrum(values.square(), rank, "singular values of J")
        values = torch.linalg.eigvalsh(self.matrix).flip(0).clamp(min=0.0)
        rank = int((values > rounding(values, len(values), self.columns)).sum())
        return Spectrum(values, rank, "eigenvalues of J J^T")


@dataclass(frozen=True)
class Spectrum:
    """What the eigenvalues of J J^T say.

    Attributes:
        eigenvalues: `[d]`, descending.
        rank: how many of them are above rounding.
        source: what they were computed from, in words.
    """

    eigenvalues: Tensor
    rank: int
    source: str

    @property
    def pixels(self) -> int:
        return len(self.eigenvalues)

    @property
    def inverse_trace(self) -> float:
        """tr((J J^T)^+), over the directions within the rank."""
        return float((1 / self.eigenvalues[: self.rank]).sum()) if self.rank else math.inf

    def rmse(self, sigma: float) -> float:
        """Root mean squared error per pixel under noise of standard deviation `sigma` on every uploaded value.

        At full rank it is the Cramer-Rao bound of an unbiased estimate. Below, it counts the directions within the rank
        alone: the others cannot be seen in the upload at all.
        """
        return sigma * math.sqrt(self.inverse_trace / self.pixels)

    def noise_for(self, rmse: float) -> float:
        """The standard deviation of the noise at which the error per pixel reaches `rmse`."""
        return rmse / self.rmse(1.0)

    def bound(self, sigma: float) -> float:
        """The lower bound sigma sqrt(tr(J J^T)) / lambda_max, per pixel. It ranks nothing."""
        return sigma * math.sqrt(float(self.eigenvalues.sum()) / self.pixels) / float(self.eigenvalues[0])
