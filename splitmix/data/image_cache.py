"""Image files decoded once into a memory-mapped cache of uint8 pixels, in parallel, and kept for later runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from splitmix.data.sources import Pixels
from splitmix.errors import UserError
from splitmix.files import cache_folder, write_atomically

T = TypeVar("T")
NAMED = 5  # damaged files that a message names
VERSION = 1
"""Goes up when images are decoded differently."""


def decode(file: Path, size: int) -> Pixels:
    """An image file as `[3, size, size]`: resized bilinearly (antialiased, aspect ignored), RGB.

    An image that has not exactly three channels becomes grey, three times.

    Raises:
        UserError: no image, or a truncated one; names the file.
    """
    try:
        with Image.open(file) as image:
            image.load()
            rgb = image if len(image.getbands()) == 3 else image.convert("L")
            rgb = rgb if rgb.mode in ("RGB", "L") else rgb.convert("RGB")
            small = np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))
    except FileNotFoundError:
        raise UserError(f"{file} is missing: it stands in the list of images") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{file} is truncated or no image ({' '.join(str(error).split())}): fetch it again") from None
    return np.broadcast_to(small, (3, size, size)) if small.ndim == 2 else small.transpose(2, 0, 1)


def attempt(file: Path, size: int) -> Pixels | UserError:
    """`decode`, a mistake being returned: the others are looked at too."""
    try:
        return decode(file, size)
    except UserError as error:
        return error


def decoded(
    files: Sequence[Path], size: int, say: Callable[[str], None] | None = None, folder: Path | None = None
) -> Pixels:
    """All files as `[n, 3, size, size]`, from the cache if it is as new as they are, else decoded into it.

    The pixels lie in a file mapped into memory: what is not used does not take memory, and there is no second copy.

    Raises:
        UserError: a file that is missing or no image, or a cache folder that cannot be written.
    """
    folder = folder or cache_folder()
    path = folder / f"images-{signature(files, size)}.npy"
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot use the cache folder {folder} ({error.strerror}): set the variable SPLITMIX_CACHE to another"
            ) from error
        build(path, files, size, say)
    # Copy on write: PyTorch wants writable memory, and nobody writes.
    return np.load(path, mmap_mode="c")


def build(path: Path, files: Sequence[Path], size: int, say: Callable[[str], None] | None) -> None:
    """Decode all files into `path`; it appears only when it is whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pixels = np.lib.format.open_memmap(beside, "w+", np.uint8, (len(files), 3, size, size))
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding leaves Python's lock
            damaged: list[str] = []
            images = pool.map(lambda file: attempt(file, size), files)
            for number, image in enumerate(shown(images, len(files), say)):
                if isinstance(image, UserError):
                    damaged.append(str(image))
                else:
                    pixels[number] = image
        if damaged:
            more = f"; and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
            raise UserError("; ".join(damaged[:NAMED]) + more)
        pixels.flush()
        del pixels
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make room, or set the variable SPLITMIX_CACHE"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
    write_atomically(path.with_suffix(".json"), lambda file: file.write(json.dumps([str(f) for f in files]).encode()))


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


def signature(files: Sequence[Path], size: int) -> str:
    """12 hex digits of the files' names, sizes and times, and of how they are decoded (UserError: a missing file)."""
    text = hashlib.sha256(f"{VERSION} {size}".encode())
    for file in files:
        try:
            status = file.stat()
        except OSError:
            raise UserError(f"{file} is missing: it stands in the list of images") from None
        text.update(f"{file} {status.st_size} {status.st_mtime_ns}\n".encode())
    return text.hexdigest()[:12]
