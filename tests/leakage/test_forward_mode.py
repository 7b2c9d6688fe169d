"""The derivative is PyTorch's, and so is nothing that it says about itself."""

import subprocess
import sys

import pytest
import torch
from torch.func import vmap

from splitmix.leakage.forward_mode import jvp


def test_it_is_the_derivative_along_each_direction():
    at, directions = torch.tensor([0.1, 0.2, 0.3]), torch.eye(3)
    value, along = jvp(torch.sin, (at,), (directions[0],))
    torch.testing.assert_close(value, at.sin())
    torch.testing.assert_close(along, torch.tensor([0.1, 0.0, 0.0]).cos() * directions[0])
    every = vmap(lambda direction: jvp(torch.sin, (at,), (direction,))[1])(directions)
    torch.testing.assert_close(every, at.cos().diag())


@pytest.mark.slow
def test_the_first_one_of_a_process_is_silent():
    first = "jvp(torch.sin, (torch.ones(2),), (torch.ones(2),))"
    words = f"import torch; from splitmix.leakage.forward_mode import jvp; {first}"
    process = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert process.stderr == process.stdout == ""
