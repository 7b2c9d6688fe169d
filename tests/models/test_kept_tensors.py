"""What a forward pass keeps for its backward pass is counted once, and as long as it is kept."""

import torch

from splitmix.models.kept_tensors import KeptTensors


def test_memory_that_several_tensors_share_is_counted_once_and_while_it_is_kept():
    known, other = torch.zeros(10), torch.zeros(100)
    counts = KeptTensors([known])
    kept = [counts.keep(tensor) for tensor in (known, known[:5], other, other[50:])]
    assert counts.now == 400 and kept[3].back().data_ptr() == other[50:].data_ptr()
    kept.pop()
    assert counts.now == 400
    kept.clear()
    more = counts.keep(torch.zeros(30))
    assert (counts.now, counts.most, more.back().numel()) == (120, 400, 30)


def test_a_forward_pass_keeps_what_its_backward_pass_needs():
    weight, images = torch.ones(5, 7, requires_grad=True), torch.ones(3, 7)
    with KeptTensors([weight]) as counts:
        out = (images @ weight.T).exp()
    # The images for the gradient of the weight, and what the exponential gave; the weight is counted elsewhere.
    assert counts.now == counts.most == 4 * (3 * 7 + 3 * 5)
    out.sum().backward()
    assert counts.now == 0 and torch.equal(weight.grad, torch.full_like(weight, 3 * torch.e**7))
