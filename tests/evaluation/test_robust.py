"""Attacked evaluation that runs out of memory goes on in smaller pieces."""

import pytest
import torch

from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import LinfPGD


class Small(LinfPGD):
    """An attack on a device with room for so many images; remembers how many it was given."""

    room = 64

    def perturb(self, model, images, labels, draws):
        given.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().perturb(model, images, labels, draws)


given: list[int] = []


@pytest.mark.parametrize("room", [11, 3])
def test_it_goes_on_from_where_it_was(federation, monkeypatch, room):
    """44 images of four clients, at two widths: as many are right as with enough memory, and each is done once."""
    fed = federation(model=DigitCNN(bn="tracked"))
    state = fed.initial_state()
    enough = fed.test(state, [0.125, 0.25], attack=LinfPGD(64.0, steps=1, random_start=False), batch_size=12)
    monkeypatch.setattr(Small, "room", room)
    given.clear()
    found = fed.test(state, [0.125, 0.25], attack=Small(64.0, steps=1, random_start=False), batch_size=12)
    assert torch.equal(found.per_client, enough.per_client) and found.n_images == 44
    assert sum(size for size in given if size <= room) == 2 * 44
    assert len([size for size in given if size > room]) <= 4, "it remembers what did not fit"


def test_parts_of_a_batch_draw_their_own_random_starts(federation, monkeypatch):
    fed = federation(model=DigitCNN(bn="tracked"))
    state = fed.initial_state()
    monkeypatch.setattr(Small, "room", 4)
    first, second = (fed.test(state, [0.125], attack=Small(16.0, steps=1), batch_size=12).per_client for _ in range(2))
    assert torch.equal(first, second)


def test_a_batch_that_must_stay_whole_and_does_not_fit_is_told_so(federation, monkeypatch):
    fed = federation(model=DigitCNN(bn="batch"))
    monkeypatch.setattr(Small, "room", 5)
    with pytest.raises(UserError, match="too little memory to attack 10 images at once: lower batch_size"):
        fed.test(fed.initial_state(), [0.125], attack=Small(16.0, steps=1), batch_size=12)
