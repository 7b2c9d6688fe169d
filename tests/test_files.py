"""Files are written whole or not at all, through no link, and what a killed process left is removed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from splitmix.errors import UserError
from splitmix.files import cache_folder, refuse_links, remove_temporary, without_links, write_atomically


def test_cache_folder_follows_root_then_the_variables(monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("SPLITMIX_CACHE", "/s")
    assert cache_folder("~/r") == Path("/h/r")
    assert cache_folder() == Path("/s")
    monkeypatch.delenv("SPLITMIX_CACHE")
    assert cache_folder() == Path("/x/splitmix")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/h/.cache/splitmix")


TOO_LARGE = """
import resource, sys
from pathlib import Path
import torch
from splitmix.errors import UserError
from splitmix.files import write_atomically

# Here and not in the tests' own process, which may be writing its output to a file.
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    write_atomically(Path(sys.argv[1]), lambda file: torch.save(torch.zeros(1 << 20), file))
except UserError as error:
    sys.exit(str(error))
"""
"""No file may grow beyond 64 KiB: a write then fails as on a full disk."""


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_on_the_disk_is_a_mistake_with_its_reason(tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", TOO_LARGE, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"cannot write .*last\.ckpt: File too large; make room.*\n", done.stderr), done.stderr
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_what_is_no_failing_write_stays_what_it_is_and_leaves_nothing(tmp_path, error):
    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomically(tmp_path / "x", write)
    assert os.listdir(tmp_path) == []


def test_nothing_is_written_through_a_link_or_into_a_pipe(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises((UserError, OSError)), open(tmp_path / name, "a", opener=without_links) as file:
            file.write("x")
    write_atomically(tmp_path / "link", lambda file: file.write(b"new"))
    assert victim.read_text() == "mine" and (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize("name", ["train.log", "checkpoints", "figures/convergence.png", ".hydra/config.yaml"])
def test_a_run_folder_with_a_link_is_refused(tmp_path, name):
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    real = tmp_path / "a link to the folder itself"
    real.symlink_to(run)
    refuse_links(real)
    (run / name).symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"{Path(name).name} is a symbolic link"):
        refuse_links(real)


def test_only_our_files_of_processes_that_ended_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / f".results.json.{gone.pid}.tmp", tmp_path / "checkpoints" / f".last.ckpt.{gone.pid}.tmp"]
    kept = [
        tmp_path / name for name in (f".results.json.{os.getppid()}.tmp", f"x.{gone.pid}.tmp", ".x.tmp", ".x.1a.tmp")
    ]
    for path in [*left, *kept]:
        path.touch()
    remove_temporary(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
