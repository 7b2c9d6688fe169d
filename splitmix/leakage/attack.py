"""Actual reconstructions of images from a noisy upload, to hold predictions against.

`dgl`: Zhu, Liu, Han, "Deep Leakage from Gradients", NeurIPS 2019 (arXiv 1906.08935), with labels known and Adam: the
summed squared difference of the uploads. `gs`: Geiping et al., "Inverting Gradients", NeurIPS 2020 (arXiv 2003.14053),
without total variation: 1 - cosine, the sign of the gradient, images kept in [0, 1], learning rate times 0.1 after 3/8,
5/8 and 7/8 of the steps. Both as the influence function's authors ran them: learning rate 0.1, from normal noise.
`newton` is no attack of the outside: Gauss-Newton on the squared difference from the true image on, to convergence. It
is the attacker that the prediction is about, and shows how far an image can be moved by the noise alone.

The gradient of a network with ReLU jumps where a unit switches, so the squared difference has walls. Where noise would
move the image through one, Gauss-Newton stops before it, nearer to the true image than predicted: that is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from splitmix.leakage.jacobian import Upload, UploadJacobian

LR = 0.1
DROPS = (3 / 8, 5 / 8, 7 / 8)
NEWTON_STEPS = 30
HALVINGS = 6
SMALL_STEP = 1e-9
"""Gauss-Newton ends at a step of less than this per pixel."""
STOPPED = 0.01
"""A reconstruction has converged if the next step of Gauss-Newton is below this share of its error."""
WINDOW = 7
"""Pixels of the sides of the squares that SSIM compares, or as many as the image has."""


@dataclass(frozen=True)
class Reconstruction:
    """An image reconstructed from a noisy upload.

    Attributes:
        sigma: standard deviation of the noise on every uploaded value.
        expected: error per pixel by the influence function, root mean square over noise of that size.
        predicted: error per pixel by the influence function for the noise that was drawn.
        noise: norm of that noise over the norm of the upload.
        rmse: error per pixel, pixels in [0, 1].
        psnr: peak signal-to-noise ratio in dB, of the image cut to [0, 1].
        ssim: structural similarity of the image cut to [0, 1], over squares of 7x7 pixels.
        misfit: what the attack minimised, at the end.
        converged: whether Gauss-Newton would not move the image further; None for the other attacks, who do not ask.
    """

    sigma: float
    expected: float
    predicted: float
    noise: float
    rmse: float
    psnr: float
    ssim: float
    misfit: float
    converged: bool | None

    def record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def misfit_of(attack: str, upload: Upload, target: Tensor) -> Callable[[Tensor], Tensor]:
    """What an attack minimises, as a function of the images."""

    def squared(images: Tensor) -> Tensor:
        return (flat(upload(images)) - target).square().sum()

    def cosine(images: Tensor) -> Tensor:
        return 1 - torch.nn.functional.cosine_similarity(flat(upload(images)), target, dim=0)

    return cosine if attack == "gs" else squared


def reconstruct(
    attack: str,
    jacobian: UploadJacobian,
    target: Tensor,
    starts: int,
    iterations: int,
    generator: torch.Generator,
) -> tuple[Tensor, float, float | None]:
    """The image `[1, c, h, w]` that fits a noisy upload best, its misfit, and the next step of `newton` per pixel.

    Args:
        attack: `dgl`, `gs` or `newton`.
        jacobian: of the upload at the true image: its shape, and where `newton` starts.
        target: the noisy upload `[P]`.
        starts, iterations: of Adam.
    """
    misfit = misfit_of(attack, jacobian.upload, target)
    if attack == "newton":
        image, step = gauss_newton(jacobian, target)
        return image, float(misfit(image)), step
    tries = []
    for _ in range(starts):
        start = torch.randn(jacobian.images.shape, generator=generator, dtype=jacobian.images.dtype)
        image = adam(misfit, start, iterations, signed=attack == "gs")
        tries.append((float(misfit(image)), image))
    value, image = min(tries, key=lambda one: one[0])
    return image, value, None


def adam(misfit: Callable[[Tensor], Tensor], start: Tensor, iterations: int, signed: bool) -> Tensor:
    """Adam from a start; `signed` is the way of `gs`."""
    image = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], LR)
    milestones = [int(share * iterations) for share in DROPS] if signed else []
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    slope: Any = grad(misfit)
    for _ in range(iterations):
        gradient = slope(image.detach())
        image.grad = gradient.sign() if signed else gradient
        optimizer.step()
        schedule.step()
        if signed:
            with torch.no_grad():
                image.clamp_(0, 1)
    return image.detach()


def gauss_newton(jacobian: UploadJacobian, target: Tensor) -> tuple[Tensor, float]:
    """The nearest minimum of the squared difference, and how far the next step would move it per pixel.

    J is kept as long as its steps help. A step that does not help is halved a few times; after that J is taken anew,
    and where that does not help either, it stops.
    """
    upload, image, fresh = jacobian.upload, jacobian.images.clone(), True
    misfit, size = misfit_of("newton", upload, target), 0.0
    value = misfit(image)
    for _ in range(NEWTON_STEPS):
        difference = (target - flat(upload(image))).detach().numpy()
        step = torch.from_numpy(jacobian.error(difference, dense=True)).view(image.shape)
        size = per_pixel(step)
        if size <= SMALL_STEP:
            break
        shorter = [step / 2**halvings for halvings in range(HALVINGS)]
        better = next((one for one in shorter if misfit(image + one) < value), None)
        if better is not None:
            image, fresh = image + better, False
            value = misfit(image)
        elif fresh:
            break
        else:
            jacobian, fresh = UploadJacobian(upload, image), True
    return image, size


def per_pixel(difference: Tensor) -> float:
    """Root mean square."""
    return float(difference.square().mean().sqrt())


def measured(
    image: Tensor, truth: Tensor, misfit: float, step: float | None, *, sigma: float, expected: float, predicted: float,
    noise: float,
) -> Reconstruction:  # fmt: skip
    """How well an image was reconstructed; see `reconstruct` and `Reconstruction`."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    cut = image.clamp(0, 1)
    window = min(WINDOW, (min(truth.shape[-2:]) - 1) // 2 * 2 + 1)
    similarity: Any = structural_similarity_index_measure(
        cut, truth, gaussian_kernel=False, kernel_size=window, data_range=1.0
    )
    error = float((cut - truth).square().mean())
    rmse = per_pixel(image - truth)
    return Reconstruction(
        sigma,
        expected,
        predicted,
        noise,
        rmse,
        -10 * torch.log10(torch.tensor(max(error, 1e-12))).item(),
        float(similarity),
        misfit,
        None if step is None else step <= STOPPED * rmse,
    )


def flat(tensors: dict[str, Tensor]) -> Tensor:
    """An upload as one vector."""
    return torch.cat([value.reshape(-1) for value in tensors.values()])
