"""Mutated image files: pixels of the asked size or a UserError of one line, and no program is started."""

import io
import os
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from splitmix.data.image_cache import FORMATS, decode
from splitmix.errors import UserError

EXAMPLES = int(os.environ.get("SPLITMIX_FUZZ_EXAMPLES", 40))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def encoded(kind: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 9, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


SEED = [encoded(kind) for kind in FORMATS] + [encoded("PNG", mode) for mode in ("P", "LA", "1", "RGBA")]

CHANGES = st.lists(st.tuples(st.integers(0), st.binary(max_size=4)), max_size=6)


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Decodes bytes under the name x.png; fails if anything else than pixels or a UserError comes out."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setenv("SPLITMIX_MAX_IMAGE_MEGAPIXELS", "1")
    file = tmp_path / "x.png"

    def attempt(content: bytes) -> str:
        file.write_bytes(content)
        try:
            pixels = decode(file, 8)
        except UserError as error:
            assert "x.png" in str(error) and str(error).isprintable()
            return str(error)
        assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
        return ""

    return attempt


@pytest.mark.filterwarnings("ignore")
@given(seed=st.sampled_from(SEED), changes=CHANGES, cut=st.integers(0))
@FUZZ
def test_mutated_images(attempt, seed, changes, cut):
    content = bytearray(seed)
    for place, new in changes:
        start = place % len(content)
        content[start : start + max(len(new), 1)] = new
    attempt(bytes(content[: len(content) - cut % 50]))


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "TIFF", "ICO", "PPM", "JPEG2000", "TGA"])
def test_other_formats_under_the_name_of_a_png_are_refused(attempt, kind):
    assert "no image of a known format (PNG, JPEG, GIF, BMP, WEBP)" in attempt(encoded(kind))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(attempt):
    file = io.BytesIO()
    Image.new("1", (2000, 600)).save(file, "PNG")
    assert "has 2000 x 600 pixels, the limit is 1 megapixels; if you trust" in attempt(file.getvalue())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png is a .*, not a file"):
        decode(tmp_path / "x.png", 8)
