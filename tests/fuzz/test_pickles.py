"""Generated and mutated pickles: plain data or a UserError of one line, no code run, no more memory than the limit."""

import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitmix.data.safe_pickle import read_pickle
from splitmix.errors import UserError

EXAMPLES = int(os.environ.get("SPLITMIX_FUZZ_EXAMPLES", 40))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
LIMIT = 2**20


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads bytes under a limit of 1 MiB; fails if anything runs, or anything else than a UserError comes out."""
    monkeypatch.setenv("SPLITMIX_MAX_PICKLE_GIB", str(LIMIT / 2**30))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("code was run"))
    path = tmp_path / "x.pkl"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        tracemalloc.start()
        try:
            return read_pickle(path)
        except UserError as error:
            assert "x.pkl" in str(error) and str(error).isprintable()
            return error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 4 * LIMIT + 8 * len(content)

    return read


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.integers(0, 5))
@FUZZ
def test_plain_data_come_back(read, value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


SEED = [pickle.dumps([np.arange(20, dtype=np.uint8).reshape(4, 5), [1, 2, 3]], protocol) for protocol in range(6)] + [
    pickle.dumps({"data": np.zeros((2, 3)), "labels": ["a", 2.5, None, b"x", np.float32(1)]}, p) for p in range(6)
]
NAMES = ["os system", "builtins eval", "numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct"]
NAMES += [
    "_codecs encode",
    "numpy memmap",
    "builtins getattr",
    "numpy.core.multiarray scalar",
    "copyreg _reconstructor",
]


@given(seed=st.sampled_from(SEED), changes=st.lists(st.tuples(st.integers(0), st.binary(max_size=5)), max_size=5))
@FUZZ
def test_mutated_pickles(read, seed, changes):
    content = bytearray(seed)
    for place, new in changes:
        start = place % len(content)
        content[start : start + max(len(new), 1)] = new
    read(bytes(content))


@st.composite
def streams(draw):
    """Operations in any order, with arguments that are mostly well-formed."""
    parts = []
    for _ in range(draw(st.integers(1, 30))):
        operation = draw(st.sampled_from(pickletools.opcodes))
        code = operation.code.encode("latin1")
        kind = operation.arg.name if operation.arg else ""
        if kind == "stringnl_noescape_pair":
            code += draw(st.sampled_from(NAMES)).replace(" ", "\n").encode() + b"\n"
        elif kind.endswith(("nl", "nl_noescape", "nl_short", "nl_long")):
            code += draw(st.sampled_from([b"0", b"'x'", b"7", b"touch hacked", b"99999999"])) + b"\n"
        elif kind:
            data = draw(st.binary(max_size=8))
            length = draw(st.sampled_from([len(data), 2**31 - 1, 0]))
            size = {"1": "<B", "4": "<i", "8": "<q"}.get(kind[-1])
            counted = size and operation.arg.n < 0
            code += struct.pack(size, length if size != "<B" else length % 256) + data if counted else data
        parts.append(code)
    return b"\x80\x04" + b"".join(parts) + b"."


@given(content=streams())
@FUZZ
def test_streams_of_operations(read, content):
    read(content)


ARRAY = b"cnumpy.core.numeric\n_frombuffer\n(h\x00h\x01h\x02U\x01CtR"
SHARED = b"\x80\x02" + b"T" + struct.pack("<i", 100_000) + b"x" * 100_000 + b"q\x000"
SHARED += b"cnumpy\ndtype\nU\x02u1\x85Rq\x010" + b"J" + struct.pack("<i", 100_000) + b"\x85q\x020"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SHARED + b"](" + ARRAY * 500 + b"e.", "raise the variable SPLITMIX_MAX_PICKLE_GIB"),
        (b"\x80\x02]r\xff\xff\xff\x0f.", "a reference with a number out of order"),
        (b"\x80\x02](" + b"}" * 50_000 + b"e.", "takes more memory than allowed"),
        (b"\x80\x02}(" + pickle.dumps(2**61 - 1 << 70)[2:-1] + b"Nu.", "a number of more than 64 bits"),
        (b"\x80\x04B\xff\xff\xff\x7fx.", "truncated or no pickle file"),
    ],
)
def test_what_is_made_to_fill_memory_or_time_is_refused(read, content, words):
    assert words in str(read(content))
