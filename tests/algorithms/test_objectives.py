"""The loss over lanes against its definition."""

import torch
import torch.nn.functional as F

from splitmix.algorithms.objectives import lane_cross_entropy

LOGITS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[0, 1, 0, 1, 1], [3, 3, 2, 0, 1]])


def test_each_lane_has_its_own_mean_cross_entropy():
    expected = torch.stack([F.cross_entropy(LOGITS[lane], LABELS[lane]) for lane in range(2)])
    torch.testing.assert_close(lane_cross_entropy(LOGITS, LABELS), expected)


def test_masking_zeroes_the_logits_of_absent_classes():
    # Lane 0 sees classes 0 and 1 only: logits 2 and 3 become 0 and still count exp(0) each.
    kept = LOGITS[0] * torch.tensor([1.0, 1.0, 0.0, 0.0])
    losses = lane_cross_entropy(LOGITS, LABELS, masked=True)
    torch.testing.assert_close(losses[0], F.cross_entropy(kept, LABELS[0]))
    torch.testing.assert_close(losses[1], F.cross_entropy(LOGITS[1], LABELS[1]))


def test_temperature_scales_loss_and_logits():
    expected = 0.5 * F.cross_entropy(LOGITS[0] / 0.5, LABELS[0])
    torch.testing.assert_close(lane_cross_entropy(LOGITS, LABELS, temperature=0.5)[0], expected)
