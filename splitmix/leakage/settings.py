"""Settings of an audit: which threats, how many images, which noise, which attack beside the prediction."""

from __future__ import annotations

from dataclasses import dataclass

from splitmix.binding import shown
from splitmix.errors import UserError

THREATS = ("image", "batch", "upload")
ATTACKS = ("none", "dgl", "gs", "newton")


@dataclass(frozen=True)
class AuditSettings:
    """The keys `audit.*` of `splitmix audit`.

    Attributes:
        threats: of `image`, `batch`, `upload`; `auto` are those that the run allows: `image` with running statistics,
            `batch` without, and `upload`.
        images: images of each client, one after another as it trains on them in that round.
        batch_size: images per batch of the threat `batch`.
        base_models: numbers of base models that are uploaded together; a client trains no more than its budget allows.
        sigma: standard deviation of the noise on every uploaded value.
        noise_multiplier, clip: z and C: the upload is scaled down to the norm C and gets noise of z C; both or neither,
            and then instead of `sigma`.
        pixels: of the threat `upload`, so many pixels are taken where an image has more; see `sampled_errors`.
        attack: reconstructs the images beside the prediction: `dgl`, `gs` or `newton` (see `splitmix.leakage.attack`);
            `none` does not.
        starts: random starts of each reconstruction; the one that fits the upload best counts.
        iterations: steps of Adam from each start.
        noise_levels: noise of the reconstructions, as predicted errors per pixel of the median image.
        draws: of the noise, for each image and level.
    """

    threats: tuple[str, ...] | str = "auto"
    images: int = 3
    batch_size: int = 4
    base_models: tuple[int, ...] = (1, 2)
    sigma: float = 0.001
    noise_multiplier: float | None = None
    clip: float | None = None
    pixels: int = 64
    attack: str = "none"
    starts: int = 1
    iterations: int = 24001
    noise_levels: tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1)
    draws: int = 1

    def check(self) -> None:
        """Raise UserError for a value out of range."""
        for threat in self.asked() or ():
            if threat not in THREATS:
                raise UserError(f"audit.threats={threat}: choose among {', '.join(THREATS)}, or auto")
        for key in ("images", "batch_size", "pixels", "starts", "iterations", "draws"):
            low = 2 if key == "pixels" else 1
            if getattr(self, key) < low:
                raise UserError(f"audit.{key}={getattr(self, key)}: give at least {low}")
        for key in ("base_models", "noise_levels"):
            values = getattr(self, key)
            if not values or min(values) <= 0:
                raise UserError(f"audit.{key}={shown(values)}: give at least one number, all above 0")
        for key in ("sigma", "noise_multiplier", "clip"):
            value = getattr(self, key)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"audit.{key}={shown(value)}: give a number above 0")
        if (self.noise_multiplier is None) != (self.clip is None):
            raise UserError("audit.noise_multiplier and audit.clip belong together: give both, or null for both")
        if self.attack not in ATTACKS:
            raise UserError(f"audit.attack={self.attack}: choose among {', '.join(ATTACKS)}")

    def asked(self) -> tuple[str, ...] | None:
        """The threats by name; None for `auto`."""
        names = (self.threats,) if isinstance(self.threats, str) else self.threats
        return None if names == ("auto",) else names

    @property
    def convention(self) -> str:
        """What the noise is, in words."""
        if self.noise_multiplier is None or self.clip is None:
            return f"fixed sigma = {self.sigma:g} on every uploaded value"
        sigma = self.noise_multiplier * self.clip
        return f"sigma = z C = {self.noise_multiplier:g} x {self.clip:g} = {sigma:g}, after clipping to the norm C"

    def noise_on(self, norm: float) -> float:
        """The noise in units of an upload of this norm: clipping makes the upload smaller, and the noise larger.

        The factor that the upload was scaled by counts as known to the attacker.
        """
        if self.noise_multiplier is None or self.clip is None:
            return self.sigma
        return self.noise_multiplier * self.clip * max(1.0, norm / self.clip)
