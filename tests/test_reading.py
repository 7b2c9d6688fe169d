"""Files from a stranger: hostile texts are told in one line and quickly; what is no file is not waited for."""

import os
from itertools import pairwise
from time import perf_counter

import pytest

from splitmix.errors import UserError
from splitmix.printing import printable
from splitmix.reading import MOST_YAML, read_json, read_text, read_yaml

JSON = {
    "empty": "",
    "mark": "\ufeff{}",
    "nan": "[NaN]",
    "infinity": "[-Infinity]",
    "overflow": "[1e999]",
    "huge": "[" + "1" * 5000 + "]",
    "large": "[9223372036854775808]",
    "repeated": '{"a": 1, "a": 2}',
    "half": r'["\ud800"]',
    "nul": r'{"\u0000": 1}',
    "deep": "[" * 33 + "]" * 33,
    "deeper": "[" * 100_000,
    "many": "[" + "[]," * 500_000 + "[]]",
    "bytes": b'"\xff"',
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_hostile_json_is_one_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"a\.json cannot be read \(") as error:
        read_json(path)
    assert len(str(error.value).splitlines()) == 1


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnop"))
YAML = {
    "empty": "",
    "comment": "# nothing\n",
    "bomb": BOMB,
    "recursive": "a: &a [*a]\n",
    "deep": "[" * 100_000,
    "blocks": "- " * 100_000,
    "keys": "? " * 100_000,
    "repeated": "a: 1\na: 2\n",
    "tag": "a: !!python/object/apply:os.system [true]\n",
    "set": "a: !!set {b}\n",
    "key": "? [a]\n: 1\n",
    "number": "1: 2\n",
    "nan": "a: .nan\n",
    "huge": "a: " + "1" * 5000,
    "nul": 'a: "\\0"\n',
    "open": "a: [\n",
    "two": "a: 1\n---\nb: 2\n",
    "large": "a: " + "x" * MOST_YAML,
    "bytes": b"a: \xff\n",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_hostile_yaml_is_one_line_and_soon(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = perf_counter()
    with pytest.raises(UserError, match=r"a\.yaml cannot be read \(") as error:
        read_yaml(path)
    assert len(str(error.value).splitlines()) == 1 and perf_counter() - start < 20


def test_yaml_has_omegaconfs_numbers_and_no_interpolation(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1e-3\nb: 2026-01-01\nc: ${oc.env:HOME}\nd: [true, null, 'x']\n")
    assert read_yaml(path) == {"a": 0.001, "b": "2026-01-01", "c": "${oc.env:HOME}", "d": [True, None, "x"]}


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: None]
)
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / "a")


def test_what_would_steer_a_terminal_is_written_out():
    assert printable("a\x1b[31m\r\x9b\u202e\ud800\0") == r"a\x1b[31m\r\x9b\u202e\ud800\x00"
    assert printable("tab\tline\nλ × [red] é") == "tab\tline\nλ × [red] é"
