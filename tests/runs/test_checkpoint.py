"""Checkpoints: damaged, foreign or misfitting files are told; a failing save leaves the last good file."""

import os
import pickle
import zipfile

import pytest
import torch
from variants import mostly_slow

from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def saved(federation, tmp_path):
    fed = federation()
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, Checkpoint(fed.initial_state(), -1, -1.0, 0.0))
    return fed.method, path


def test_a_truncated_file_is_told(saved):
    method, path = saved
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="truncated or not a checkpoint"):
        load_checkpoint(path, method)


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"a": 1})])
def test_another_file_is_told(saved, content):
    method, path = saved
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(path, method)


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_from_the_file_is_executed(saved, capsys):
    method, path = saved
    torch.save({"schema": 1, "tensors": Hostile()}, path)
    with pytest.raises(UserError):
        load_checkpoint(path, method)
    assert "executed" not in capsys.readouterr().out


def test_entries_that_do_not_fit_are_all_named(saved):
    method, path = saved
    content = torch.load(path, weights_only=True)
    tensors = content["tensors"]
    tensors["extra"] = tensors.pop("fc3.bias")
    tensors["conv1.bias"] = tensors["conv1.bias"][:3]
    torch.save(content, path)
    with pytest.raises(UserError) as error:
        load_checkpoint(path, method)
    for part in ("fc3.bias is missing", "extra is unknown", "conv1.bias has shape [3, 8] instead of [8, 8]"):
        assert part in str(error.value)


def resave(path, change, keep=()):
    """The saved content, changed, with a checksum that fits only where `keep` names it."""
    content = torch.load(path, weights_only=True)
    change(content)
    if "checksum" not in keep:
        content.pop("sha256", None)
    torch.save(content, path)


def test_what_is_loaded_is_what_was_saved_and_the_checksum_sees_any_change(saved):
    method, path = saved
    loaded = load_checkpoint(path, method)
    fresh = method.initial_state(1)
    assert all(torch.equal(loaded.state.tensors[name], value) for name, value in fresh.tensors.items())
    assert (loaded.best_round, loaded.best_value, loaded.wall_s, loaded.engine) == (-1, -1.0, 0.0, {})
    for change in (
        lambda content: content.update(best_value=0.5),
        lambda content: content["tensors"]["fc3.bias"].neg_(),
        lambda content: content.update(sha256=7),
    ):
        resave(path, change, keep=("checksum",))
        with pytest.raises(UserError, match="by its checksum"):
            load_checkpoint(path, method)


def test_a_flipped_bit_of_a_weight_is_told(saved):
    method, path = saved
    content = bytearray(path.read_bytes())
    weight = method.initial_state(1).tensors["conv2.weight"].numpy().tobytes()
    content[content.index(weight) + len(weight) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged \(its content is not what was saved"):
        load_checkpoint(path, method)


def test_a_checkpoint_without_checksum_loads_with_a_note(saved, caplog):
    method, path = saved
    resave(path, lambda content: content.pop("engine"))
    with caplog.at_level("INFO", "splitmix"):
        assert load_checkpoint(path, method).state.round == 0
    assert "has no checksum" in caplog.text


WRONG = {
    "round": ["x", -5, True, 1.0, None, 4, [[]]],
    "best_round": [-2, "0", 0.5, False],
    "best_value": [float("nan"), "high", None, torch.zeros(1)],
    "wall_s": [float("inf"), []],
    "engine": [[], {"cpu lanes": 0}, {1: 2}, {"cpu lanes": True}],
    "tensors": [[], {1: torch.zeros(1)}, None],
    "clients": [[1], {"a": 1}, "x"],
    "server": [[1], {"a": 1}, "x"],
    "schema": [True, 3, 0, "1", None],
}


@pytest.mark.parametrize(
    ("key", "value"), mostly_slow((key, value) for key, values in WRONG.items() for value in values)
)
def test_a_wrong_value_is_one_line(saved, key, value):
    method, path = saved
    resave(path, lambda content: content.update({key: value}))
    with pytest.raises(UserError, match=r"use another|does not fit") as error:
        load_checkpoint(path, method, rounds=3)
    assert "\n" not in str(error.value)


TENSORS = {
    "no plain tensor": [
        lambda t: 1.0,
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: torch.nn.Parameter(t),
        lambda t: torch._neg_view(t),
    ],
    "has type": [lambda t: t.double(), lambda t: t.half(), lambda t: t.to(torch.complex64)],
    "has shape": [lambda t: t[None], lambda t: t[:1].expand(2**40, *t.shape[1:])],
    "not finite": [lambda t: t / 0, lambda t: t * float("nan")],
}


@pytest.mark.parametrize(
    ("told", "change"), [(told, change) for told, changes in TENSORS.items() for change in changes]
)
def test_a_wrong_tensor_is_one_line(saved, told, change):
    method, path = saved
    resave(path, lambda content: content["tensors"].update({"fc3.weight": change(content["tensors"]["fc3.weight"])}))
    with pytest.raises(UserError, match=told):
        load_checkpoint(path, method)


def test_a_compressed_file_is_not_unpacked(saved):
    method, path = saved
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(path, method)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(saved, make):
    method, path = saved
    path.unlink()
    make(path)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(path, method)


def test_weights_that_are_not_finite_are_not_saved(saved):
    method, path = saved
    before, state = path.read_bytes(), method.initial_state(0)
    state.tensors["fc3.bias"][0, 0] = float("inf")
    with pytest.raises(UserError, match=r"fc3\.bias is not finite after 0 rounds"):
        save_checkpoint(path, Checkpoint(state, -1, -1.0, 0.0))
    assert path.read_bytes() == before


def test_a_merge_that_diverges_ends_the_round(federation, monkeypatch):
    fed = federation()
    finalise = type(fed.method).finalise

    def diverging(self, state, aggregate):
        after = finalise(self, state, aggregate)
        after.tensors["conv1.weight"][0, 0] = float("nan")
        return after

    monkeypatch.setattr(type(fed.method), "finalise", diverging)
    with pytest.raises(UserError, match=r"^conv1\.weight is no longer finite after the merge of round 1: lower"):
        fed.run_round(fed.initial_state())


def test_a_full_disk_keeps_the_last_good_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"good")

    def full(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(path, full)
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]
