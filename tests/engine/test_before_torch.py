"""Portable instructions: set before PyTorch is imported, refused after; results do not depend on what is there."""

import os
import subprocess
import sys

import pytest

from splitmix.engine.before_torch import PORTABLE, choose_instructions
from splitmix.engine.settings import MOST_PER_CORE, EngineSettings
from splitmix.errors import UserError

SUMS = """
import sys
from splitmix.engine.before_torch import choose_instructions
choose_instructions({"instructions": sys.argv[1]})
import torch
from splitmix.engine.settings import EngineSettings
EngineSettings(accelerator="cpu", instructions=sys.argv[1]).check()
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(1)
one, two = (torch.randn(300, 300, generator=draw, dtype=torch.float64) for _ in range(2))
print(torch.backends.cpu.get_cpu_capability(), (one @ two).exp().log_softmax(1).numpy().tobytes().hex()[:2000])
"""


def sums(instructions, **environment):
    command = [sys.executable, "-c", SUMS, instructions]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_portable_numbers_do_not_depend_on_what_the_processor_offers():
    capability, numbers = sums("portable")
    assert capability == "DEFAULT"
    for offered in ({"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, {"ATEN_CPU_CAPABILITY": "avx2"}):
        assert sums("portable", **offered) == [capability, numbers]


def test_native_leaves_the_environment_and_portable_is_refused_once_torch_is_there(monkeypatch):
    for name in PORTABLE:
        monkeypatch.delenv(name, raising=False)
    for instructions in ("native", "portable"):
        choose_instructions({"instructions": instructions})  # PyTorch is imported already
        assert not PORTABLE.keys() & os.environ.keys()
    with pytest.raises(UserError, match=r"instructions=portable: PyTorch was imported .* MKL_CBWR=COMPATIBLE"):
        EngineSettings(instructions="portable").check()
    with pytest.raises(UserError, match=r"engine\.instructions=sse: choose native or portable"):
        EngineSettings(instructions="sse").check()


@pytest.mark.parametrize("key", ["threads", "workers"])
def test_numbers_that_would_halt_the_machine_are_refused(key):
    with pytest.raises(UserError, match=rf"engine\.{key}=100000: more than {MOST_PER_CORE} per core"):
        EngineSettings(accelerator="cpu", **{key: 100_000}).check()
