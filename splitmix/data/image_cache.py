"""Image files decoded once into a memory-mapped cache of uint8 pixels, in parallel, and kept for later runs."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from splitmix.data.limits import PIXELS
from splitmix.data.pixel_file import read_pixels, write_pixels
from splitmix.data.sources import Pixels
from splitmix.errors import UserError
from splitmix.files import cache_folder
from splitmix.printing import excerpt
from splitmix.regular_files import open_regular

T = TypeVar("T")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
"""Formats that Pillow decodes by itself, whatever a file is called; for others it would start programs."""
NAMED = 5  # damaged files that a message names
VERSION = 1
"""Goes up when images are decoded differently."""


def decode(file: Path, size: int) -> Pixels:
    """An image file as `[3, size, size]`: resized bilinearly (antialiased, aspect ignored), RGB.

    An image that has not exactly three channels becomes grey, three times.

    Raises:
        UserError: no file, no image of a known format, a truncated one or one of too many pixels; names the file.
    """
    return decode_opened(lambda: open_regular(file), file, size)


def decode_opened(opening: Callable[[], BinaryIO], name: object, size: int) -> Pixels:
    """`decode` for what `opening` opens; `name` is for messages."""
    try:
        with opening() as opened, Image.open(opened, formats=FORMATS) as image:
            if image.width * image.height > PIXELS.value:
                raise PIXELS.refusal(f"{excerpt(name)}: has {image.width} x {image.height} pixels")
            image.load()
            rgb = image if len(image.getbands()) == 3 else image.convert("L")
            rgb = rgb if rgb.mode in ("RGB", "L") else rgb.convert("RGB")
            small = np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    except UserError:
        raise
    except FileNotFoundError:
        raise missing(name) from None
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{excerpt(name)} is truncated or no image of a known format ({', '.join(FORMATS)}): fetch it again"
        ) from None
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise UserError(f"{excerpt(name)} is truncated or no image ({excerpt(error)}): fetch it again") from None
    return np.broadcast_to(small, (3, size, size)) if small.ndim == 2 else small.transpose(2, 0, 1)


def missing(file: object) -> UserError:
    return UserError(f"{excerpt(file)} is missing: it stands in the list of images")


def decoded(
    files: Sequence[Path], size: int, say: Callable[[str], None] | None = None, folder: Path | None = None
) -> Pixels:
    """All files as `[n, 3, size, size]`, from the cache if it is as new as they are, else decoded into it.

    Args:
        say: told what takes a while, and of a damaged cache file.

    Raises:
        UserError: a file that is missing or no image, or a cache folder that cannot be written.
    """
    return cached(signature(files, size), files, lambda file: decode(file, size), size, say, folder)


def cached(
    name: str,
    items: Sequence[T],
    decode_one: Callable[[T], Pixels],
    size: int,
    say: Callable[[str], None] | None = None,
    folder: Path | None = None,
) -> Pixels:
    """All items as `[n, 3, size, size]`, from the cache file of this name, else decoded into it.

    The pixels lie in a file mapped into memory: what is not used does not take memory, and there is no second copy. A
    cache file that is damaged is made again.

    Args:
        name: changes whenever the pixels would, such as a `signature`.
        decode_one: an item as `[3, size, size]`, called by several threads; raises UserError for a damaged one.

    Raises:
        UserError: damaged items, or a cache folder that cannot be written.
    """
    folder = folder or cache_folder()
    path = folder / f"images-{name}.npy"
    shape = (len(items), 3, size, size)
    pixels = read_pixels(path, shape)
    if pixels is None:
        if say is not None and os.path.lexists(path):
            say(f"{path} is damaged, or of an earlier version, and is made again")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot use the cache folder {folder} ({error.strerror}): set the variable SPLITMIX_CACHE to another"
            ) from error
        build(path, items, decode_one, shape, say)
        pixels = read_pixels(path, shape)
    if pixels is None:
        raise UserError(f"{path} does not hold what was written to it: set the variable SPLITMIX_CACHE to another disk")
    return pixels


def build(
    path: Path,
    items: Sequence[T],
    decode_one: Callable[[T], Pixels],
    shape: tuple[int, ...],
    say: Callable[[str], None] | None,
) -> None:
    """Decode all items into `path`; it appears only when it is whole."""
    pool = ThreadPoolExecutor(os.cpu_count())  # decoding leaves Python's lock
    damaged: list[str] = []

    def attempt(item: T) -> Pixels | UserError:
        # A mistake is returned, since the other items are looked at too.
        try:
            return decode_one(item)
        except UserError as error:
            return error

    def images() -> Iterator[Pixels]:
        for image in shown(pool.map(attempt, items), len(items), say):
            if isinstance(image, UserError):
                damaged.append(str(image))
            elif not damaged:
                yield image
        if damaged:
            more = f"; and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
            raise UserError("; ".join(damaged[:NAMED]) + more)

    try:
        with pillows_own_limit_off():
            write_pixels(path, shape, images())
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make room, or set the variable SPLITMIX_CACHE"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def pillows_own_limit_off() -> Iterator[None]:
    """Ours holds instead; and Pillow's warnings of odd files are not shown."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def shown(images: Iterator[T], total: int, say: Callable[[str], None] | None) -> Iterator[T]:
    """The same items, with a bar on a terminal, or a line for every tenth of them."""
    console = Console()
    if say is None:
        yield from images
    elif console.is_terminal:
        yield from track(images, "decoding images", total, console=console, transient=True)
    else:
        step = max(total // 10, 1)
        for number, image in enumerate(images):
            yield image
            if (number + 1) % step == 0:
                say(f"decoding images: {number + 1} of {total}")


def signature(files: Sequence[Path], size: int, *more: object) -> str:
    """12 hex digits of the files' names, sizes and times, of how they are decoded, and of what more decides of it.

    Raises:
        UserError: a missing file.
    """
    text = hashlib.sha256(" ".join(map(str, (VERSION, size, *more))).encode())
    for file in files:
        try:
            status = file.stat()
        except ValueError:  # a NUL, or text that no file system encodes
            raise UserError(f"{excerpt(file)}: no file can have this name, which stands in the list") from None
        except OSError:
            raise missing(file) from None
        text.update(os.fsencode(f"{file} {status.st_size} {status.st_mtime_ns}\n"))
    return text.hexdigest()[:12]
