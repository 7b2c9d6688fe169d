"""The uneven partitions: property-based, on datasets that are labels only."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitmix.data.dataset import Dataset, ImageSet
from splitmix.data.partition import Uniform
from splitmix.data.partition_classes import Classes, deal_classes
from splitmix.data.partition_dirichlet import Dirichlet
from splitmix.data.partition_label_dirichlet import LabelDirichlet
from splitmix.data.partition_tools import apportion
from splitmix.errors import UserError

OPTIONS = [Dirichlet, Classes, LabelDirichlet]


def dataset(train, test, order=0):
    """Domains given as images per class, e.g. `[[30, 20], [25, 25]]`, each domain's labels in a random order."""

    def images(domains):
        generator = np.random.default_rng(order)
        labels = np.concatenate([generator.permutation(np.repeat(np.arange(len(row)), row)) for row in domains])
        blank = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
        return ImageSet(blank, torch.from_numpy(labels).long(), tuple(sum(row) for row in domains))

    domains, classes = ("d0", "d1", "d2")[: len(train)], tuple(f"c{i}" for i in range(len(train[0])))
    return Dataset("blank", domains, classes, images(train), images(test))


few = settings(max_examples=40, deadline=None)
seeds, vals, four = st.integers(0, 2**40), st.floats(0.3, 0.6), st.integers(1, 4)
# One to three domains of different size, with enough images of each of the five classes for four clients of 8.
train, test = (st.lists(st.integers(*ends), min_size=5, max_size=5) for ends in ((40, 80), (12, 30)))
pairs = st.lists(st.tuples(train, test), min_size=1, max_size=3)
datasets = st.builds(lambda domains, order: dataset(*zip(*domains, strict=True), order), pairs, st.integers(0, 9))


def own(part):
    return torch.cat([part.train, part.val])


def by_domain(data, parts):
    """For every domain, its train and test set: all labels, the domain's rows, the rows of each of its clients."""
    each, rows = len(parts) // len(data.domains), [*range(len(data.train.labels))]
    for domain in range(len(data.domains)):
        here = parts[domain * each : (domain + 1) * each]
        yield (
            (data.train.labels, rows[data.train.domain_slice(domain)], [own(part) for part in here]),
            (data.test.labels, rows[data.test.domain_slice(domain)], [part.test for part in here]),
        )


def classes_of(labels, rows):
    return set(labels[rows].tolist())


def tally(labels, owned):
    return torch.stack([torch.bincount(labels[rows], minlength=5) for rows in owned])


def check_clients(data, parts, clients, val):
    """What holds for every partition: ids, domains, disjoint splits, minima and the share of validation images."""
    assert [part.id for part in parts] == [f"{d}-{i}" for d in range(len(data.domains)) for i in range(clients)]
    assert [part.domain for part in parts] == [domain for domain in data.domains for _ in range(clients)]
    for sets in by_domain(data, parts):
        for _, here, owned in sets:
            rows = torch.cat(owned).tolist()
            assert len(rows) == len(set(rows)) and set(rows) <= set(here)
    for part in parts:
        assert len(part.val) == int(len(own(part)) * val)
        assert len(own(part)) >= 8 and min(len(part.train), len(part.val), len(part.test)) >= 2


@few
@given(data=datasets, clients=st.integers(1, 6), fraction=st.floats(0.6, 1), val=vals, seed=seeds, even=st.booleans())
def test_dirichlet_sizes(data, clients, fraction, val, seed, even):
    parts = Dirichlet(consistent_test_classes=even, min_samples=8).split(data, clients, fraction, val, seed)
    check_clients(data, parts, clients, val)
    for (_, train, owned), (_, test, tested) in by_domain(data, parts):
        # In file order without gaps: the first client's train, its validation, the next one's train, …
        assert torch.cat(owned).tolist() == train[: int(len(train) * fraction)]
        assert torch.cat(tested).tolist() == test
    if even:
        uniform = Uniform(min_samples=5).split(data, clients, 1.0, 0.5, seed)
        assert all(torch.equal(a.test, b.test) for a, b in zip(parts, uniform, strict=True))


def test_dirichlet_sizes_are_a_minimum_and_a_flat_share_of_the_rest():
    assert apportion(7, np.array([0.5, 0.3, 0.2])).tolist() == [4, 2, 1]  # 3.5, 2.1 and 1.4: the largest remainder
    # With two clients a Dirichlet(1) share is uniform on [0, 1]: mean 1/2, deviation 1/sqrt(12) = 0.289.
    firsts = [Dirichlet(min_samples=10).split(dataset([[1020]], [[104]]), 2, 1.0, 0.5, s)[0] for s in range(200)]
    for shares in ([(len(own(a)) - 10) / 1000 for a in firsts], [(len(a.test) - 2) / 100 for a in firsts]):
        assert abs(np.mean(shares) - 0.5) < 0.07 and abs(np.std(shares) - 0.289) < 0.04


@few
@given(data=datasets, clients=four, each=st.integers(1, 5), val=vals, seed=seeds, consistent=st.booleans())
def test_classes(data, clients, each, val, seed, consistent):
    parts = Classes(each, consistent, min_samples=8).split(data, clients, 1.0, val, seed)
    check_clients(data, parts, clients, val)
    for part in parts:
        train, test = classes_of(data.train.labels, own(part)), classes_of(data.test.labels, part.test)
        assert len(train) == len(test) == each and (train == test or not consistent)
    for sets in by_domain(data, parts):
        for labels, here, owned in sets:
            sizes, counts = torch.bincount(labels[here], minlength=5), tally(labels, owned)
            holders = (counts > 0).sum(0)
            # All images of a class that somebody holds are used, in even shares but for the left-over ones.
            assert ((counts.sum(0) == sizes) | (holders == 0)).all()
            assert ((counts >= sizes // holders.clamp(min=1)) | (counts == 0)).all()


@few
@given(each=st.integers(1, 7), extra=st.integers(0, 5), clients=st.integers(1, 30), seed=seeds)
def test_dealing_gives_distinct_classes_in_rounds(each, extra, clients, seed):
    hands = deal_classes(each + extra, clients, each, np.random.default_rng(seed))
    assert [(len(hand), len(set(hand))) for hand in hands] == [(each, each)] * clients
    times = Counter(card for hand in hands for card in hand)
    assert max(times.values()) - min(times[card] for card in range(each + extra)) <= 1


def test_test_classes_are_dealt_independently_of_train_classes():
    data = dataset([[40] * 5], [[40] * 5])
    parts = [part for seed in range(10) for part in Classes(2).split(data, 5, 1.0, 0.5, seed)]
    equal = [classes_of(data.train.labels, own(part)) == classes_of(data.test.labels, part.test) for part in parts]
    assert 0 < sum(equal) < 25  # of 50: a pair of five classes is equal one time in ten by chance


@pytest.mark.parametrize("option", [Classes, LabelDirichlet])
def test_validation_and_test_images_are_mixed_and_not_in_file_order(option):
    data = dataset([[60] * 4], [[20] * 4])
    for part in option(min_samples=20).split(data, 2, 1.0, 0.4, 5):
        assert classes_of(data.train.labels, part.train) == classes_of(data.train.labels, part.val)
        assert part.test.tolist() != sorted(part.test.tolist())


@few
@given(data=datasets, clients=four, alpha=st.floats(0.3, 100), fraction=st.floats(0.8, 1), val=vals, seed=seeds)
def test_label_dirichlet(data, clients, alpha, fraction, val, seed):
    parts = LabelDirichlet(alpha, min_samples=8).split(data, clients, fraction, val, seed)
    check_clients(data, parts, clients, val)
    for sets in by_domain(data, parts):
        counts = []
        for (labels, here, owned), share in zip(sets, (fraction, 1.0), strict=True):
            assert sorted(torch.cat(owned).tolist()) == here[: int(len(here) * share)]
            counts.append(tally(labels, owned).double())
        # Train and test counts are the same share of the class, each rounded to a whole image.
        shares, units = zip(*((of / of.sum(0), 1 / of.sum(0)) for of in counts), strict=True)
        assert ((shares[0] - shares[1]).abs() <= sum(units) + 1e-9).all()


def test_a_small_alpha_skews_and_a_large_one_does_not():
    data = dataset([[100] * 5], [[20] * 5])
    small, large = (LabelDirichlet(alpha).split(data, 4, 1.0, 0.5, 0) for alpha in (0.05, 1000))
    skewed, even = (tally(data.train.labels, [own(part) for part in parts]) for parts in (small, large))
    assert skewed.min() == 0 and even.min() > 20  # of 25 images of each class in equal parts


@pytest.mark.parametrize("option", OPTIONS)
@few
@given(seed=seeds)
def test_a_partition_is_a_function_of_the_seed_and_the_domain(option, seed):
    data = dataset([[60] * 5] * 2, [[30] * 5] * 2)
    cuts = (option(min_samples=8).split(data, 3, 1.0, 0.5, s) for s in (seed, seed, seed + 1))
    one, two, other = ([(own(part).tolist(), part.test.tolist()) for part in parts] for parts in cuts)
    assert one == two != other
    sizes = [len(rows) for rows, _ in one + other]
    assert option is Classes or sizes[:3] + sizes[6:9] != sizes[3:6] + sizes[9:]


REFUSED = [
    (Classes(6), [60] * 5, [9] * 5, 0.5, "partition.classes_per_client=6: .* give 1 to 5"),
    (Classes(5), [60] * 4 + [0], [9] * 5, 0.5, "class c4 .* has no images in the train set of domain d0"),
    (Classes(5), [60] * 5, [9, 0, 9, 9, 9], 0.5, "class c1 .* has no images in the test set of domain d0"),
    (Classes(5), [60] * 4 + [2], [9] * 5, 0.5, "class c4 is dealt to 3 clients but has 2 images"),
    (Classes(1), [12] * 5, [9] * 5, 0.5, "client 0-.* gets only 12 train and validation images .* needs 16"),
    (Classes(1, min_samples=4), [12] * 5, [2, 2, 2, 1, 1], 0.5, "client 0-.* gets only 1 test images"),
    (LabelDirichlet(0.0), [60] * 5, [9] * 5, 0.5, "partition.alpha=0: give a number above 0"),
    (LabelDirichlet(1e-3), [300, 1], [90, 1], 0.5, r"partition.alpha=0.001: after 100 draws client 0-\d still has 0"),
]
for refuses in OPTIONS:
    REFUSED += [
        (refuses(min_samples=101), [60] * 5, [6] * 5, 0.5, "clients_per_domain=3: domain d0 has 300 train"),
        (refuses(), [60] * 5, [1] * 5, 0.5, "clients_per_domain=3: domain d0 .* 5 test"),
        (refuses(min_samples=0), [60] * 5, [6] * 5, 0.5, "partition.min_samples=0: give at least 1"),
        (refuses(), [60] * 5, [6] * 5, 0.005, "val_fraction=0.005 leaves client 0-"),
        (refuses(), [60] * 5, [6] * 5, 0.999, "val_fraction=0.999 leaves client 0-"),
    ]


@pytest.mark.parametrize(("option", "train", "test", "val", "words"), REFUSED)
def test_what_cannot_be_cut_is_named_in_one_line(option, train, test, val, words):
    with pytest.raises(UserError, match=words) as caught:
        option.split(dataset([train], [test]), 3, 1.0, val, 0)
    assert "\n" not in str(caught.value)
