"""The uniform partition: property-based."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.partition import Uniform
from splitmix.errors import UserError


def dataset(train, test):
    def images(counts):
        n = sum(counts)
        return ImageSet(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64), tuple(counts))

    return Dataset("blank", tuple(f"d{i}" for i in range(len(train))), ("x",), images(train), images(test))


sizes = st.lists(st.integers(40, 200), min_size=1, max_size=4)


@given(
    train=sizes, extra=st.integers(0, 30), clients=st.integers(1, 5), val=st.floats(0.3, 0.6), seed=st.integers(0, 99)
)
def test_every_kept_image_belongs_to_one_client_and_split(train, extra, clients, val, seed):
    data = dataset(train, [20 + extra] * len(train))
    parts = Uniform(min_samples=5).split(data, clients, 1.0, val, seed)
    used = torch.cat([torch.cat([part.train, part.val]) for part in parts]).tolist()
    assert len(used) == len(set(used)) == min(train) * len(train)
    tests = torch.cat([part.test for part in parts]).tolist()
    assert sorted(tests) == list(range(sum(data.test.counts)))
    for number, part in enumerate(parts):
        rows = data.train.domain_slice(number // clients)
        assert all(rows.start <= row < rows.stop for row in [*part.train.tolist(), *part.val.tolist()])
        assert part.train.max() < part.val.min()
        assert len(part.val) == int((len(part.train) + len(part.val)) * val)
    assert parts[0].id == "0-0" and len({part.id for part in parts}) == len(parts)


def test_the_same_seed_cuts_the_same_and_train_fraction_cuts_first():
    data = dataset([101, 120], [23, 23])
    one, two = (Uniform().split(data, 2, 0.8, 0.5, seed=3) for _ in range(2))
    assert all(torch.equal(a.train, b.train) and torch.equal(a.test, b.test) for a, b in zip(one, two, strict=True))
    assert sum(len(p.train) + len(p.val) for p in one) == 2 * 80


@pytest.mark.parametrize(("clients", "val"), [(30, 0.5), (3, 0.01), (3, 0.99)])
def test_too_many_clients_or_an_empty_split_is_refused(clients, val):
    with pytest.raises(UserError, match=r"clients_per_domain=30|val_fraction"):
        Uniform().split(dataset([100], [20]), clients, 1.0, val, 1)
