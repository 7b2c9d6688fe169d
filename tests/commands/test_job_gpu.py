"""Which GPU the jobs of a sweep use that run beside each other; no GPU is needed."""

from types import SimpleNamespace

import pytest
import torch

from splitmix.commands import job_gpu


def job(number, launcher="joblib"):
    return SimpleNamespace(
        runtime=SimpleNamespace(choices={"hydra/launcher": launcher}), job=SimpleNamespace(num=number)
    )


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    monkeypatch.setattr(job_gpu, "_spread", [])
    monkeypatch.setenv(job_gpu.VISIBLE, "")  # so that it is restored afterwards
    monkeypatch.delenv(job_gpu.VISIBLE)


def seen(monkeypatch, number, named=None, count=0, launcher="joblib"):
    """What a fresh process that runs job `number` first sees of the GPUs."""
    if named is not None:
        monkeypatch.setenv(job_gpu.VISIBLE, named)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    job_gpu.keep_to_one_gpu(job(number, launcher))
    return job_gpu.os.environ.get(job_gpu.VISIBLE)


@pytest.mark.parametrize(("number", "gpu"), [(0, "0"), (1, "1"), (2, "2"), (3, "0")])
def test_processes_take_the_gpus_in_turn(monkeypatch, number, gpu):
    assert seen(monkeypatch, number, count=3) == gpu


def test_only_the_gpus_that_were_given_are_used(monkeypatch):
    assert seen(monkeypatch, 1, named="4,GPU-ab,7", count=3) == "GPU-ab"


def test_a_process_keeps_its_gpu(monkeypatch):
    assert seen(monkeypatch, 1, named="4,5") == "5"
    job_gpu.keep_to_one_gpu(job(6))
    assert job_gpu.os.environ[job_gpu.VISIBLE] == "5"


@pytest.mark.parametrize(
    ("named", "count", "launcher"), [(None, 0, "joblib"), (None, 1, "joblib"), ("", 0, "joblib"), ("4,5", 2, "basic")]
)
def test_otherwise_nothing_changes(monkeypatch, named, count, launcher):
    assert seen(monkeypatch, 1, named=named, count=count, launcher=launcher) == named
