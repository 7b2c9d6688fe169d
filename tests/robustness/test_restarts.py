"""Several attempts of an attack: the strongest of each image."""

import torch
import torch.nn.functional as F

from splitmix.randomness import rng
from splitmix.robustness.attacks import LinfPGD
from splitmix.robustness.draws import Draws
from splitmix.robustness.restarts import Restarted


def test_of_each_image_the_attempt_that_fools_else_the_greatest_loss():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))
    images = torch.rand(12, 3, 4, 4)
    labels = model(images).argmax(-1)
    one = LinfPGD(96.0, steps=1, step_size=8.0)
    draws = Draws([rng(3)], [12])
    attempts = [one.perturb(model, images, labels, draws) for _ in range(4)]
    logits = torch.stack([model(attempt) for attempt in attempts])
    losses = torch.stack([F.cross_entropy(of_one, labels, reduction="none") for of_one in logits])
    fooled = logits.argmax(-1) != labels
    many = Restarted(one, 4).perturb(model, images, labels, Draws([rng(3)], [12]))
    for image in range(12):
        first = int(fooled[:, image].int().argmax()) if fooled[:, image].any() else int(losses[:, image].argmax())
        assert torch.equal(many[image], attempts[first][image])
    assert fooled.any(0).any() and not fooled.any(0).all() and len(set(losses.argmax(0).tolist())) > 1
    assert Restarted(one, 4).gradients == 4
