"""Worker pools: the order of answers, what a failure leaves behind, what is shared and what is sent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from splitmix.engine.shared_memory import known_regions, pickled, share, shared_bytes, unpickled
from splitmix.engine.worker_host import WorkerHost, worker_host
from splitmix.engine.workers import SLOTS, WorkerPool
from splitmix.errors import UserError
from splitmix.federation.sampling import DrawnBatches

KILLED = "killed by signal 9 (SIGKILL)"


def squares():
    """A handler: writes a square into its slot and returns the number; 13 is a mistake and 14 a bug."""

    def handler(task, slot):
        if task == 13:
            raise UserError("say so")
        if task == 14:
            raise ZeroDivisionError
        slot[0] = task * task
        return task

    return handler


@pytest.fixture
def pool():
    pool = WorkerPool(2)
    pool.load(squares(), 8)
    yield pool
    pool.close()


def test_answers_come_in_the_order_of_the_tasks(pool):
    tasks = list(range(12))
    assert [(result, int(slot[0])) for result, slot in pool.map(tasks)] == [(n, n * n) for n in tasks]


def test_what_is_left_of_an_abandoned_batch_is_not_taken_for_the_next(pool):
    for _ in range(3):
        abandoned = pool.map(list(range(8)))
        assert next(abandoned)[0] == 0
        abandoned.close()
        assert [result for result, _ in pool.map([5, 6, 7])] == [5, 6, 7]
    assert sum(map(len, pool.free)) <= 2 * SLOTS and not pool.closed


def test_mistakes_and_bugs_arrive_as_what_they_are_and_the_pool_goes_on(pool):
    with pytest.raises(UserError, match=r"^say so$"):
        list(pool.map([1, 13, 2, 3]))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(pool.map([14]))
    assert [result for result, _ in pool.map([1, 2])] == [1, 2]
    assert len({id(slot) for slots in pool.free for slot in slots}) <= SLOTS


def test_a_handler_that_cannot_be_sent_is_a_mistake(pool):
    lock = threading.Lock()
    with pytest.raises(UserError, match="cannot be sent to worker processes"):
        pool.load(lambda task, slot: lock, 8)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_an_ended_worker_leaves_no_zombie_and_how_it_ended_is_known():
    host = worker_host()
    connections, pids = zip(*(host.start() for _ in range(2)), strict=True)
    os.kill(pids[0], signal.SIGKILL)
    connections[1].close()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert [host.end_of(pid) for pid in (*pids, pids[0])] == [KILLED, "exit code 0", KILLED]


@pytest.mark.slow
def test_where_forking_is_unsafe_workers_are_interpreters_of_their_own():
    host = WorkerHost(forks=False)
    pool = WorkerPool(1, host)
    pool.load(squares(), 8)
    assert [int(slot[0]) for _, slot in pool.map([3, 4])] == [9, 16]
    os.kill(pool.pids[0], signal.SIGKILL)
    with pytest.raises(UserError, match=r"a worker process died \(killed by signal 9 \(SIGKILL\)\)"):
        list(pool.map([1]))
    host.close()


def copy_of(value):
    """Through a pickle, as a worker in this process would see it: the value, and the size of the pickle."""
    from splitmix.engine.shared_memory import mapped

    with known_regions() as regions:
        message = pickled(value, regions)
        memory = {region.number: mapped(region.descriptor, region.private) for region in message.used}
    return unpickled(message.data, memory), len(message.data)


@pytest.mark.parametrize("anonymous_files", [True, False])
def test_tensors_in_shared_memory_are_sent_as_references(monkeypatch, anonymous_files):
    if not anonymous_files:  # other systems than Linux
        monkeypatch.delattr(os, "memfd_create", raising=False)
    images, rows = torch.arange(60_000, dtype=torch.uint8).view(100, 600), torch.arange(100)
    expected = images.clone()
    share([images, rows])
    assert torch.equal(images, expected) and torch.equal(rows, torch.arange(100))
    (seen, part), size = copy_of((images, rows[3:9:2]))
    assert size < 1000 and torch.equal(seen, expected) and part.tolist() == [3, 5, 7]
    images[0, 0] = 77
    assert seen[0, 0] == 77
    other = images.data_ptr()
    share([images])
    assert images.data_ptr() == other, "what is shared is not moved again"


def test_freed_memory_is_forgotten():
    with known_regions() as before:
        count = len(before)
    memory = shared_bytes(1 << 20)
    with known_regions() as during:
        assert len(during) == count + 1
    del memory
    with known_regions() as after:
        assert len(after) == count


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="looks for mapped files in /proc")
@pytest.mark.parametrize("written", [False, True])
def test_a_mapped_file_is_mapped_again_and_not_copied_unless_it_was_written_to(tmp_path, written):
    np.save(tmp_path / "images.npy", np.arange(50_000, dtype=np.uint8).reshape(50, 1000))
    images = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c")[10:])
    if written:
        images[0, 0] = 99
    before = images.data_ptr()
    share([images])
    assert (images.data_ptr() == before) is not written
    seen, size = copy_of(images)
    assert torch.equal(seen, images) and size < 1000
    seen[1, 1] += 1
    assert np.array_equal(np.load(tmp_path / "images.npy"), np.arange(50_000, dtype=np.uint8).reshape(50, 1000))


def test_batches_are_sent_as_how_to_draw_them():
    rows = torch.arange(2500)
    batches = DrawnBatches(rows, 32, 1, None, 3, ("batches", 0, 7))
    share([rows])
    assert len(batches) == 79
    copy, size = copy_of(batches)
    assert size < 1000 and all(torch.equal(one, other) for one, other in zip(batches, copy, strict=True))


def test_views_are_sent_without_the_rest_of_their_storage():
    rows = torch.randperm(2500)
    part, size = copy_of(rows[:10])
    assert size < 1000 and torch.equal(part, rows[:10])


SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from torch.utils import backend_registration
if hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    # PyTorch now sees a device, as on a machine with a GPU: its autograd starts a thread for it.
    backend_registration._setup_privateuseone_for_python_backend("faked")
torch.ones(3, requires_grad=True).sum().backward()

from dataclasses import replace

from splitmix.algorithms.splitmix import SplitMix, SplitMixMethod
from splitmix.data.dataset import Dataset, ImageSet
from splitmix.engine.settings import EngineSettings
from splitmix.federation.federation import Federation

print("this script runs")

class MyMethod(SplitMixMethod):
    def objective(self, network, batch):
        return super().objective(network, replace(batch, images=1 - batch.images))

class Mine(SplitMix):
    def bind(self, model, problem):
        return MyMethod(self, model, problem)

def image_set(n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return ImageSet(torch.from_numpy(images), torch.arange(n) % 10, (n,))

dataset = Dataset("noise", ("a",), tuple("0123456789"), image_set(60, 0), image_set(20, 1))
states = []
for workers in (1, 2):
    engine = EngineSettings(lanes=2, workers=workers, threads=1)
    federation = Federation(dataset, Mine(), engine=engine, clients_per_domain=2, batch_size=8)
    states.append(federation.run_round(federation.initial_state())[0].tensors)
print(max(float((states[0][name] - value).abs().max()) for name, value in states[1].items()))
if len(sys.argv) > 1:
    print(*federation.engine.pool.pids, flush=True)
    while True:
        states.append(federation.run_round(federation.initial_state()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file", "stdin"])
def test_a_script_without_a_guard_with_its_own_method_after_a_backward_pass_beside_a_device(tmp_path, place):
    (tmp_path / "script.py").write_text(SCRIPT)
    words = {"file": ["script.py"], "stdin": ["-"]}[place]
    done = subprocess.run(
        [sys.executable, *words], input=SCRIPT, cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    said, difference = done.stdout.splitlines()
    assert said == "this script runs" and float(difference) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_parent_leaves_nothing_behind(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", "on"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    workers = [int(pid) for pid in lines[-1].split()]
    host = int(Path(f"/proc/{workers[0]}/stat").read_text().rpartition(")")[2].split()[1])
    assert len(workers) == 2 and host != process.pid
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in [*workers, host]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in [*workers, host] if Path(f"/proc/{pid}").exists()]
    process.stdout.close()


def environment():
    """This process's, in which the package is found."""
    import splitmix

    return {**os.environ, "PYTHONPATH": str(Path(splitmix.__file__).parents[1])}
