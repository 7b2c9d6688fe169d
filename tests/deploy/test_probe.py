"""Probing a device: times and memory by number of base models, and the budget that they allow."""

import json
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from devices import device, measured

from splitmix.algorithms.splitmix import SplitMix
from splitmix.deploy import probe as probing
from splitmix.deploy.device import read_device, write_device
from splitmix.deploy.fresh_process import fresh_process_s
from splitmix.engine.optimizers import SGD
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.client_side import ClientSettings
from splitmix.models.digit_cnn import DigitCNN

ENGINE = EngineSettings(accelerator="cpu", workers=1, threads=1)


def method_of(federation, width, **algorithm):
    """Split-Mix whose first client has this budget."""
    method = federation(SplitMix(**algorithm), DigitCNN()).method
    return method.settings.bind(method.model, replace(method.problem, budgets=(width, 1.0)))


def test_seconds_per_step_and_beside_the_steps_are_told_apart(federation, monkeypatch):
    now = [0.0]
    real = probing.Probed.train

    def train(self, images, settings, engine):
        now[0] += 3.0 + 0.5 * self.lanes * len(images.images) / settings.batch_size
        return b"" if now[0] > 40 else real(self, images, settings, engine)

    monkeypatch.setattr(probing.Probed, "train", train)
    methods = [(width, method_of(federation, width)) for width in (0.125, 0.25)]
    settings = ClientSettings(SGD(), batch_size=4)
    rows = probing.probe(methods, settings, ENGINE, 0.125, steps=3, repeats=3, images=1000, clock=lambda: now[0])
    assert [(row.width, row.base_models, row.load) for row in rows] == [(0.125, 1, 1.0), (0.25, 2, 2.0)]
    assert [row.step_s for row in rows] == pytest.approx([0.5, 1.0])
    assert [row.start_s for row in rows] == pytest.approx([3.0, 3.0])
    assert rows[0].round_s(80, 4) == pytest.approx(13.0)
    held = (1000 - 5 * 4) * 3 * 8 * 8
    assert rows[0].peak_bytes > held + 10**7


def test_what_a_fresh_process_needs_more_is_beside_the_steps(federation, monkeypatch):
    now, whole = [0.0], iter([20.0, 12.0, 13.0])

    def train(self, images, settings, engine):
        now[0] += 3.0 + 0.5 * len(images.images) / settings.batch_size
        return b""

    monkeypatch.setattr(probing.Probed, "train", train)
    methods, settings = [(0.125, method_of(federation, 0.125))], ClientSettings(SGD(), batch_size=4)
    clock, fresh = lambda: now[0], lambda *_: next(whole)
    [row] = probing.probe(methods, settings, ENGINE, 0.125, 3, 3, images=1, clock=clock, fresh=fresh)
    # Of the median process, 13 s, a round of two steps is 4 s, and all but the steps is beside them.
    assert row.step_s == pytest.approx(0.5) and row.start_s == pytest.approx(3 + 13 - 4)


@pytest.mark.slow
def test_a_fresh_process_trains_the_round_and_a_failure_is_seen(federation):
    client = probing.Probed.of(0.125, method_of(federation, 0.125))
    images, settings = probing.random_images(8, (3, 8, 8), 10), ClientSettings(SGD(), batch_size=4)
    assert fresh_process_s(client, images, settings, ENGINE) > 0
    with pytest.raises(subprocess.CalledProcessError):
        fresh_process_s(replace(client, message=b"no request"), images, settings, ENGINE)


def test_a_machine_so_busy_that_more_steps_take_less_time_still_gives_a_time(federation, monkeypatch):
    times = iter([0.0, 9.0, 9.0, 14.0] * 2)
    monkeypatch.setattr(probing.Probed, "train", lambda *_: b"")
    methods, settings = [(0.125, method_of(federation, 0.125))], ClientSettings(SGD(), batch_size=4)
    [row] = probing.probe(methods, settings, ENGINE, 0.125, steps=3, repeats=2, images=1, clock=lambda: next(times))
    assert (row.step_s, row.start_s) == (1.0, 7.0)  # five seconds for five steps


def test_it_trains_as_a_node_does(federation):
    client = probing.Probed.of(0.25, method_of(federation, 0.25))
    images = probing.random_images(8, (3, 8, 8), 10)
    answer = probing.unpacked(client.train(images, ClientSettings(SGD(), batch_size=4), ENGINE))
    assert len(answer["update"]["task"]["base_models"]) == 2 == client.lanes
    assert answer["update"]["tensors"]


PEAK = """
from splitmix.deploy.device_memory import PeakMemory
memory = PeakMemory("cpu")
before = memory.peak()
block = bytearray(b"x") * (64 << 20)
print(before, memory.peak())
"""


@pytest.mark.slow
def test_peak_memory_is_seen():
    """In a process of its own: this one may have had a higher peak, or memory to use again."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 10**7 and after - before > 32 << 20


def test_the_budget_is_the_largest_that_keeps_both_limits():
    rows = (measured(0.125, step_s=0.1, peak_bytes=10**8), measured(0.25), measured(0.5, step_s=2.0))
    some = device(*rows)
    assert some.seen == 200 and rows[1].round_s(some.seen, 10) == 11
    assert some.fitting(60, None).width == 0.5 and some.fitting(11, None).width == 0.25
    assert some.fitting(60, 10**8).width == 0.125 and some.fitting(1, None) is None
    unknown = device(measured(peak_bytes=None))
    assert unknown.fitting(60, 10**12) is None and unknown.fitting(60, None) is not None


def test_a_file_comes_back_and_others_are_refused_in_one_line(tmp_path):
    file = tmp_path / "device.json"
    write_device(file, device())
    assert read_device(file) == device()
    content = json.loads(file.read_text())
    for change, words in (
        ({"kind": "x"}, r"is not a device\.json; make one"),
        ({"schema": 2}, "is of schema 2, this version of splitmix reads 1"),
        ({"images": "many"}, r"is damaged \(Expected `int`.*images"),
        ({"measured": []}, "is damaged"),
        ({"measured": [msgspec.to_builtins(measured())] * 2}, "do not ascend"),
        ({"name": "a b"}, "is damaged"),
    ):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=words):
            read_device(file)
    file.write_text(json.dumps(content)[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_device(file)
    file.write_text("[1]")
    with pytest.raises(UserError, match=r"is not a device\.json"):
        read_device(file)
