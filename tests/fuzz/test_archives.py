"""Generated and mutated zip and tar archives: files below the target folder or a UserError, nothing beside it."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitmix.data import limits
from splitmix.data.archives import below, unpack
from splitmix.errors import UserError

EXAMPLES = int(os.environ.get("SPLITMIX_FUZZ_EXAMPLES", 40))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
LIMIT = 2**20
PARTS = ["MNIST", "..", ".", "", "C:", "a", "b.pkl", "x" * 300, "é\ud8ff", "\x1b[31m", "a\0b", "\\", "/"]
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join) | st.just("MNIST/first.pkl")
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=300), st.integers(0, 7)), max_size=5)
CHANGES = st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4)
TYPES = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
TYPES += [tarfile.GNUTYPE_SPARSE, b"Z"]


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Unpacks bytes; fails if anything but a UserError comes out, or anything lies outside the target or is a link."""
    monkeypatch.setenv("SPLITMIX_MAX_ARCHIVE_GIB", str(LIMIT / 2**30))
    archive, target = tmp_path / "x.archive", tmp_path / "into" / "here"

    def attempt(content: bytes) -> str:
        archive.write_bytes(content)
        message = ""
        try:
            unpack(archive, target, below(("MNIST",)))
        except UserError as error:
            message = str(error)
            assert "x.archive" in message and message.isprintable()
        paths = [path for path in tmp_path.rglob("*") if path != archive and path not in target.parents]
        assert all(target == path or target in path.parents for path in paths)
        assert all(stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR) for path in paths)
        assert sum(path.stat().st_size for path in paths if path.is_file()) <= LIMIT
        assert not list(tmp_path.rglob("*.tmp"))
        return message

    return attempt


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as opened:
        for name, content, kind in members:
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            info.compress_type = compression
            info.external_attr = (stat.S_IFLNK if kind == 1 else stat.S_IFIFO if kind == 3 else 0) << 16
            opened.writestr(info, content)
    return whole.getvalue()


def tarred(members, packed=False):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", errors="surrogateescape", format=tarfile.PAX_FORMAT) as opened:
        for name, content, kind in members:
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
            info.type, info.size, info.linkname = TYPES[kind], len(content), "../../escaped"
            opened.addfile(info, io.BytesIO(content))
    return gzip.compress(whole.getvalue()) if packed else whole.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(members=MEMBERS, kind=st.sampled_from(["zip", "tar", "tar.gz"]), changes=CHANGES)
@FUZZ
def test_any_archive(attempt, members, kind, changes):
    content = bytearray(zipped(members) if kind == "zip" else tarred(members, kind == "tar.gz"))
    for place, byte in changes:
        content[place % len(content)] = byte
    attempt(bytes(content))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: zipped([("MNIST/x", b"\0" * 2 * LIMIT, 0)]), "raise the variable SPLITMIX_MAX_ARCHIVE_GIB"),
        (lambda: tarred([("MNIST/x", b"\0" * 2 * LIMIT, 0)], True), "raise the variable SPLITMIX_MAX_ARCHIVE_GIB"),
        (lambda: zipped([("MNIST/x", b"1", 0), ("MNIST/x", b"2", 0)]), "x stands there twice"),
        (lambda: tarred([("MNIST/x", b"1", 0), ("MNIST/./x", b"2", 0)]), "x stands there twice"),
        (lambda: tarred([("MNIST/a", b"1", 0), ("MNIST/l", b"", 1)]), "is a link"),
        (lambda: tarred([("MNIST/a", b"1", 0), ("MNIST/l", b"", 3)]), "is no plain file"),
        (lambda: tarred([("MNIST/a", b"1", 0), ("/MNIST/b", b"", 0)]), "would leave the folder"),
        (lambda: header("MNIST/x", 8**11 - 1) + b"x" * 512, "raise the variable SPLITMIX_MAX_ARCHIVE_GIB"),
        (lambda: header("MNIST/x", -(2**40)) + b"x" * 512, "damaged"),
        (lambda: gzip.compress(header("x", 2**30, tarfile.XHDTYPE) + b"x" * 2048), "a header of 1073741824 bytes"),
        (lambda: tarred([("MNIST/a", b"1" * 999, 0)], True)[:-6], "damaged"),
    ],
)
def test_what_is_refused(attempt, content, words):
    assert words in attempt(content())


def test_what_unpacks_to_hundreds_of_times_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "RATIO_FROM", LIMIT)
    members = [("MNIST/x", b"\0" * 3 * LIMIT, 0)]
    for name, content in (("x.zip", zipped(members)), ("x.tgz", tarred(members, True))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"times its size, the limit is 200; .* SPLITMIX_MAX_ARCHIVE_RATIO"):
            unpack(tmp_path / name, tmp_path / "into", below(("MNIST",)))
        assert not (tmp_path / "into").exists()
    monkeypatch.setenv("SPLITMIX_MAX_ARCHIVE_RATIO", "2000")
    assert unpack(tmp_path / "x.tgz", tmp_path / "into", below(("MNIST",))) == 1
    assert (tmp_path / "into" / "MNIST" / "x").stat().st_size == 3 * LIMIT


def test_good_archives_are_unpacked_whole(tmp_path):
    members = [(f"set/MNIST/{number}.pkl", bytes([number]) * 700 * number, 0) for number in range(5)]
    for name, content in (("a.zip", zipped(members)), ("b.tar", tarred(members)), ("c.tgz", tarred(members, True))):
        (tmp_path / name).write_bytes(content)
        assert unpack(tmp_path / name, tmp_path / f"{name}.d", below(("MNIST",))) == 5
        assert (tmp_path / f"{name}.d" / "MNIST" / "4.pkl").read_bytes() == members[4][1]


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: Path(path).mkdir()])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "x.zip")
    with pytest.raises(UserError, match=r"x\.zip is a .*, not a file"):
        unpack(tmp_path / "x.zip", tmp_path / "into", below(("MNIST",)))
