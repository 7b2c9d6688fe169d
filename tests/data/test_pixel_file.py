"""The file of pixels: whole, verified and mapped, or not there; damage and full disks end in an answer."""

import errno
import fcntl
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from layouts import tree

from splitmix.data.folder import ImageFolder
from splitmix.data.pixel_file import header, read_pixels, write_pixels
from splitmix.errors import UserError

SHAPE = (5, 3, 4, 4)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def test_what_is_written_is_read_by_us_and_by_numpy(tmp_path, monkeypatch):
    monkeypatch.setattr("splitmix.data.pixel_file.CHUNK", 100)  # several checksums
    path = tmp_path / "x.npy"
    assert read_pixels(path, SHAPE) is None
    write_pixels(path, SHAPE, iter(PIXELS))
    found = read_pixels(path, SHAPE)
    assert (found == PIXELS).all() and (np.load(path, mmap_mode="r") == PIXELS).all()
    found[0] = 0  # writable, and the file does not change
    assert (read_pixels(path, SHAPE) == PIXELS).all()
    assert os.listdir(tmp_path) == ["x.npy"]


def test_what_a_killed_process_left_is_removed_and_what_one_still_writes_is_not(tmp_path):
    abandoned, written = tmp_path / ".x.npy.1.tmp", tmp_path / ".x.npy.2.tmp"
    abandoned.write_bytes(b"half")
    with open(written, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_pixels(tmp_path / "x.npy", SHAPE, iter(PIXELS))
    assert sorted(os.listdir(tmp_path)) == [written.name, "x.npy"]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no checksum": lambda path: np.save(path, PIXELS),
    "floats": lambda path: np.save(path, PIXELS.astype(np.float32)),
    "another shape": lambda path: np.save(path, PIXELS.reshape(3, 5, 4, 4)),
    "a flipped pixel": lambda path: flip(path, len(header(SHAPE)) + 100),
    "a flipped checksum": lambda path: flip(path, -1),
    "a flipped header": lambda path: flip(path, 20),
    "empty": lambda path: path.write_bytes(b""),
    "a pipe": to_pipe,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed(tmp_path, kind):
    path = tmp_path / "x.npy"
    write_pixels(path, SHAPE, iter(PIXELS))
    DAMAGE[kind](path)
    assert read_pixels(path, SHAPE) is None


def test_a_damaged_cache_is_made_again_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))
    settings = ImageFolder(str(tree(tmp_path / "tree", ("a",), n=3)), image_size=8)
    before = settings.load().train.images.clone()
    [path] = (tmp_path / "cache").iterdir()
    flip(path, 1000)
    said: list[str] = []
    assert (settings.load(said.append).train.images == before).all()
    [line] = [line for line in said if "decoding" not in line]
    assert line == f"{path} is damaged, or of an earlier version, and is made again"
    said.clear()
    settings.load(said.append)
    assert said == [] and list((tmp_path / "cache").iterdir()) == [path]


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["os.posix_fallocate", "os.fsync"])
def test_a_full_disk_is_told_and_nothing_stays(tmp_path, monkeypatch, call):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(call, full_disk)
    settings = ImageFolder(str(tree(tmp_path / "tree", ("a",), n=3)), image_size=8)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device.*make room"):
        settings.load()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_system_that_cannot_reserve_room_is_written_to(tmp_path, monkeypatch):
    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "unable")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    write_pixels(tmp_path / "x.npy", SHAPE, iter(PIXELS))
    assert (read_pixels(tmp_path / "x.npy", SHAPE) == PIXELS).all()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_nearly_full_disk_does_not_kill_the_process(tmp_path, small_disk, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(small_disk))
    settings = ImageFolder(str(tree(tmp_path / "tree", ("a",), n=3)), image_size=64)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        settings.load()
    assert list(small_disk.iterdir()) == []
