"""Draws the two rendered domains of minidigits with the TrueType fonts that matplotlib ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from splitmix.data.minidigits_handwritten import SIDE

OVERSAMPLING = 2
FONT_FAMILIES = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")
GLYPHLESS = "Display"  # DejaVuSansDisplay and DejaVuSerifDisplay hold mathematical ornaments and no digits
SIZES = tuple(range(17, 27))  # pixels per em in the finished image

Fonts = Sequence[Sequence[ImageFont.FreeTypeFont]]


def load_fonts() -> Fonts:
    """Every usable font face in every size of `SIZES`, as `[face][size]`."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(
        file for file in folder.glob("*.ttf") if file.name.startswith(FONT_FAMILIES) and GLYPHLESS not in file.name
    )
    # The basic layout engine is part of every pillow build; the other one is optional and places glyphs differently.
    return [
        [ImageFont.truetype(str(file), size * OVERSAMPLING, layout_engine=ImageFont.Layout.BASIC) for size in SIZES]
        for file in files
    ]


def draw_font_digit(label: int, fonts: Fonts, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One printed digit in random colours, font, size, place and turn: uint8 `[3, 28, 28]`."""
    face = fonts[int(rng.integers(len(fonts)))]
    font = face[int(rng.integers(len(face)))]
    centre = SIDE / 2 + rng.uniform(-4, 4, size=2)
    mask = _mask([(str(label), centre[0], centre[1])], font, rng.uniform(-25, 25))
    paper, ink = _colours(rng, least=40, most=200)
    image = paper + (ink - paper) * mask
    return _to_bytes(image + rng.normal(0, rng.uniform(0, 12), size=image.shape))


def draw_house_number(label: int, fonts: Fonts, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One digit of a longer number, its neighbours cut off at the sides, pale, blurred and noisy: uint8 `[3, 28, 28]`.

    The digit that counts is the one in the middle, as in SVHN.
    """
    face = fonts[int(rng.integers(len(fonts)))]
    font = face[int(rng.integers(len(face)))]
    middle, height = SIDE / 2 + rng.uniform(-3, 3, size=2)
    gap = font.getlength("0") / OVERSAMPLING * rng.uniform(0.85, 1.1)
    digits = [(str(label), middle, height)]
    for side in (-1, 1):
        if rng.random() < 0.85:
            digits.append((str(rng.integers(10)), middle + side * gap, height + rng.uniform(-1, 1)))
    mask = _mask(digits, font, rng.uniform(-12, 12), blur=rng.uniform(0.25, 1.4))
    paper, ink = _colours(rng, least=38, most=95)
    slope = rng.uniform(-1, 1, size=(3, 2)) * 0.6 + rng.uniform(-1, 1, size=2)
    ramp = np.linspace(-1, 1, SIDE)
    light = 18 * (slope[:, :1, None] * ramp[:, None] + slope[:, 1:, None] * ramp)
    image = paper + (ink - paper) * mask + light
    return _to_bytes(image + rng.normal(0, rng.uniform(8, 18), size=image.shape))


def _mask(
    digits: Sequence[tuple[str, float, float]], font: ImageFont.FreeTypeFont, angle: float, blur: float = 0.0
) -> NDArray[np.float64]:
    """Coverage of the ink, float `[28, 28]` in 0 to 1, of characters centred at (x, y) pixels, turned by degrees."""
    canvas = Image.new("L", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for text, x, y in digits:
        pen.text((x * OVERSAMPLING, y * OVERSAMPLING), text, fill=255, font=font, anchor="mm")
    canvas = canvas.rotate(angle, Image.Resampling.BILINEAR)
    if blur:
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur * OVERSAMPLING))
    return np.asarray(canvas.reduce(OVERSAMPLING)) / 255.0


def _colours(rng: np.random.Generator, least: float, most: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours of paper and ink, float `[3, 1, 1]`, whose mean brightness differs by `least` to `most` grey levels."""
    contrast = rng.uniform(least, most)
    # Away from black and white, where cutting to the range would swallow a pale digit.
    darker = rng.uniform(20, 235 - contrast)
    colours = []
    for grey in (darker, darker + contrast):
        tint = rng.uniform(-60, 60, size=3)
        # Tints add up to nothing, and what would leave the range is cut later, so the contrast stays about the same.
        colours.append((grey + tint - tint.mean())[:, None, None])
    dark, bright = colours
    return (dark, bright) if rng.random() < 0.5 else (bright, dark)


def _to_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
