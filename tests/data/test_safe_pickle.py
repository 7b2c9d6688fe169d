"""Pickles of strangers: plain data come out, hostile and damaged ones are refused by name, and nothing runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from splitmix.data.safe_pickle import read_pickle
from splitmix.errors import UserError


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_come_out_as_they_are(tmp_path, protocol):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = {"data": images, b"key": [1, 2.5, None, True, ("a", b"\xff")], "names": np.array(["x", "yy"])}
    content["number"] = np.float32(1.5)
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path)
    assert (found["data"] == images).all() and found["data"].dtype == np.uint8
    assert found[b"key"] == content[b"key"] and found["names"].tolist() == ["x", "yy"] and found["number"] == 1.5


class Runs:
    """Runs what it is given when read by an unsafe reader."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "a command": Runs(os.system, "touch hacked"),
    "python text": Runs(eval, "__import__('os').system('touch hacked')"),
    "inside a list": [1, (2, Runs(os.system, "touch hacked"))],
    "an object array": np.array([Runs(os.system, "touch hacked")], dtype=object),
    "plain object array": np.array([1, "a", None], dtype=object),
    "another class": OrderedDict(a=1),
    "a path": Path("x"),
    "a set": {1, 2},
    "a memmap": Runs(np.memmap, "hacked", "uint8", "w+", 0, (1,)),
    "an array subclass": np.matrix([[1]]),
    "codecs": Runs(__import__("_codecs").encode, "abc", "rot13"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_files_are_refused_and_nothing_runs(tmp_path, monkeypatch, kind, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(HOSTILE[kind], protocol=protocol))
    with pytest.raises(UserError, match=r"x\.pkl holds") as caught:
        read_pickle(tmp_path / "x.pkl")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["x.pkl"]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x04\x95", pickle.dumps(np.zeros(100))[:-30], b"\x80\x04K\x01"]
)
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pkl is truncated or no pickle file"):
        read_pickle(tmp_path / "x.pkl")
    with pytest.raises(UserError, match="missing"):
        read_pickle(tmp_path / "y.pkl")


def build(path, *parts):
    path.write_bytes(b"\x80\x02" + b"".join(parts) + b".")


def test_containers_without_end_and_arrays_told_to_leave_their_memory_are_refused(tmp_path):
    path = tmp_path / "x.pkl"
    endless: list[object] = []
    endless.append(endless)
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    for content in (endless, deep):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match="nested without end"):
            read_pickle(path)
    wide: object = [1]
    for _ in range(15):
        wide = [wide, wide]
    path.write_bytes(pickle.dumps(wide))
    assert read_pickle(path)[0] == read_pickle(path)[1]
    dtype = b"cnumpy\ndtype\n(U\x02S1\x89\x88tR"
    grown = dtype + b"(K\x03U\x01|NNNJ\x00\x00\x40\x00K\x01K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    state = b"(K\x01(K\x01t" + grown + b"\x89U\x01xtb"
    build(path, array, state)
    assert read_pickle(path).tolist() == [b"x"]  # the size that the file claims for a letter does not count
    build(path, array, state, b"K\x00U\x01ys")  # array[0] = ...
    with pytest.raises(UserError, match=r"x\.pkl"):
        read_pickle(path)
    build(path, array, b"(K\x01(K\x05t" + dtype + b"\x89U\x01xtb")
    with pytest.raises(UserError, match="another size than its shape"):
        read_pickle(path)
