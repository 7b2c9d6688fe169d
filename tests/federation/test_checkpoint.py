"""Checkpoints: damaged, foreign or misfitting files are told; a failing save leaves the last good file."""

import pickle

import pytest
import torch

from splitmix.errors import UserError
from splitmix.federation.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from splitmix.files import write_atomically


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
