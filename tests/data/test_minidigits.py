"""Tests that minidigits is balanced, deterministic, free of leaks and safely cached."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splitmix.data import minidigits
from splitmix.data.dataset import Dataset
from splitmix.data.minidigits import MiniDigits, recipe_hash
from splitmix.data.minidigits_handwritten import load_source_digits
from splitmix.data.minidigits_recipe import DOMAINS, RENDERED, make_minidigits
from splitmix.errors import UserError
from splitmix.files import cache_folder


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """As every other test has it: drawn only where this recipe was never drawn before."""
    return MiniDigits().load()


@pytest.fixture(scope="session")
def root(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a copy of its file."""
    root = tmp_path_factory.mktemp("minidigits")
    shutil.copy(cache_folder() / minidigits._cache_name(), root)
    return root


@pytest.fixture(scope="session")
def small() -> dict[str, np.ndarray]:
    return make_minidigits({"train": 40, "test": 20})


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise AssertionError("the images were drawn again")

    monkeypatch.setattr(minidigits, "make_minidigits", refuse)


def cache_file(root: Path) -> Path:
    (file,) = root.iterdir()
    return file


def test_counts_shapes_and_types(dataset: Dataset) -> None:
    assert dataset.name == MiniDigits.name and dataset.domains == MiniDigits().domains
    assert dataset.classes == MiniDigits.classes and dataset.input_shape == MiniDigits.input_shape == (3, 28, 28)
    for split, size in ((dataset.train, 2220), (dataset.test, 500)):
        assert split.counts == (size,) * 5
        assert split.images.shape == (5 * size, 3, 28, 28) and split.images.dtype == torch.uint8
        assert split.labels.shape == (5 * size,) and split.labels.dtype == torch.int64


def test_classes_balance_and_every_tenth_of_a_domain_holds_all(dataset: Dataset) -> None:
    for split in (dataset.train, dataset.test):
        for domain, count in enumerate(split.counts):
            labels = split.labels[split.domain_slice(domain)]
            assert labels.bincount(minlength=10).tolist() == [count // 10] * 10
            assert all(len(set(part.tolist())) == 10 for part in labels.chunk(10))
            # Shuffled within, and not the same order again in every ten.
            assert not torch.equal(labels[:10], labels[10:20])


def test_no_test_image_is_a_train_image_and_none_is_blank(dataset: Dataset) -> None:
    train, test = ({image.tobytes() for image in split.images.numpy()} for split in (dataset.train, dataset.test))
    assert not train & test
    assert len(test) == len(dataset.test.images)
    assert min(split.images.flatten(1).float().std(dim=1).min() for split in (dataset.train, dataset.test)) > 4


def test_making_twice_gives_the_same_bytes(small: dict[str, np.ndarray]) -> None:
    again = make_minidigits({"train": 40, "test": 20})
    assert again.keys() == small.keys()
    assert all(again[name].tobytes() == small[name].tobytes() for name in small)


def test_no_source_digit_is_in_both_splits(dataset: Dataset, root: Path) -> None:
    with np.load(cache_file(root)) as file:
        train, test, labels = file["train_sources"], file["test_sources"], file["test_labels"]
    hand = [DOMAINS.index(name) for name in ("handwritten", "coarse", "photo_blend")]
    assert not set(train[hand].ravel()) & set(test[hand].ravel())
    assert train[hand].min() >= 0 and np.all(np.delete(train, hand, axis=0) == RENDERED)
    assert all(len(set(test[domain])) == 500 for domain in hand)
    assert np.array_equal(load_source_digits()[1][test[hand]], labels[hand])


def test_recorded_sources_are_the_ones_drawn(small: dict[str, np.ndarray]) -> None:
    """Without this, the test above could pass on records that say nothing about the images."""
    digits = load_source_digits()[0]
    for domain, least in (("handwritten", 0.8), ("coarse", 0.6)):
        number = DOMAINS.index(domain)
        for split in ("train", "test"):
            right, wrong = [], []
            for image, source in zip(small[f"{split}_images"][number], small[f"{split}_sources"][number], strict=True):
                recorded, other = _upright(digits[source]), _upright(digits[(source + 1) % len(digits)])
                drawn = _upright(image[0])
                right.append(np.corrcoef(drawn.ravel(), recorded.ravel())[0, 1])
                wrong.append(np.corrcoef(drawn.ravel(), other.ravel())[0, 1])
            assert np.mean(right) > least > np.mean(wrong) + 0.1


def _upright(image: np.ndarray) -> np.ndarray:
    """Crop to the ink and bring to one size, so that shifts and scales do not count."""
    ink = image > 60
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    crop = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(crop).resize((8, 8), Image.Resampling.BOX), dtype=float)


def test_handwritten_is_smooth_and_grey_and_coarse_is_neither(dataset: Dataset) -> None:
    handwritten, coarse = (dataset.test.images[dataset.test.domain_slice(number)][:, 0] for number in (0, 1))
    assert len(set(handwritten.flatten().tolist())) > 100
    assert set(coarse.flatten().tolist()) == {0, 110, 255}

    def rows_equal_to_the_next(images: torch.Tensor) -> float:
        inked = images[:, 1:-1].sum(dim=2) > 0
        return ((images[:, 1:-1] == images[:, 2:]).all(dim=2) & inked).sum().item() / inked.sum().item()

    assert rows_equal_to_the_next(coarse) > 0.5 > 0.1 > rows_equal_to_the_next(handwritten)


def test_domain_order_rotates_names_images_and_labels(dataset: Dataset, root: Path, no_drawing: None) -> None:
    source = MiniDigits(root=str(root), domain_order=2)
    rotated = source.load()
    assert rotated.domains == source.domains == DOMAINS[2:] + DOMAINS[:2]
    for ours, base in ((rotated.train, dataset.train), (rotated.test, dataset.test)):
        for place in range(5):
            there, here = ours.domain_slice(place), base.domain_slice((place + 2) % 5)
            assert torch.equal(ours.images[there], base.images[here])
            assert torch.equal(ours.labels[there], base.labels[here])


@pytest.mark.parametrize("value", [-1, 5, 1.0, True, "1", None])
@pytest.mark.parametrize("method", [MiniDigits.check, MiniDigits.load])
def test_bad_domain_order_is_a_user_error(value: object, method: Callable[[MiniDigits], object], root: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset\.domain_order is .*0 to 4$"):
        method(MiniDigits(root=str(root), domain_order=value))  # type: ignore[arg-type]


def test_cache_is_one_file_and_is_read_without_drawing(dataset: Dataset, root: Path, no_drawing: None) -> None:
    assert cache_file(root).name == minidigits._cache_name()
    lines: list[str] = []
    assert torch.equal(MiniDigits(root=str(root)).load(lines.append).train.images, dataset.train.images)
    assert lines == []


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "flipped",
        *(
            pytest.param(damage, marks=pytest.mark.slow)
            for damage in ("foreign", "empty", "other shapes", "labels", "packed")
        ),
    ],
)
def test_damaged_cache_is_made_again(
    damage: str, dataset: Dataset, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = cache_file(root)
    with np.load(good) as file:
        arrays = dict(file)
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / good.name
    if damage == "other shapes":
        np.savez(damaged, **{name: array[:1] for name, array in arrays.items()})
    elif damage == "labels":
        np.savez(damaged, **{**arrays, "test_labels": np.full_like(arrays["test_labels"], 99)})
    elif damage == "packed":
        np.savez_compressed(damaged, **{**arrays, "test_images": np.zeros((5, 2**22), np.uint8)})
    elif damage == "foreign":
        with damaged.open("wb") as file:
            np.save(file, arrays["train_images"][0, :10])
    else:
        damaged.write_bytes({"truncated": bytes(content[:-1000]), "flipped": bytes(content), "empty": b""}[damage])
    # Drawing takes seconds, and what is drawn is not the point here.
    monkeypatch.setattr(minidigits, "make_minidigits", lambda progress: arrays)
    lines: list[str] = []
    assert torch.equal(MiniDigits(root=str(tmp_path)).load(lines.append).test.images, dataset.test.images)
    assert len(lines) == 1 and "damaged" in lines[0] and str(damaged) in lines[0]
    # The mended file is good, and no temporary file stays.
    assert cache_file(tmp_path) == damaged
    MiniDigits(root=str(tmp_path)).load(lines.append)
    assert len(lines) == 1


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(file: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(minidigits, "make_minidigits", lambda progress: {})
    monkeypatch.setattr(np, "savez", disk_full)
    with pytest.raises(UserError, match="No space left"):
        MiniDigits(root=str(tmp_path)).load()
    assert list(tmp_path.iterdir()) == []


def test_root_that_cannot_be_made_is_a_user_error(tmp_path: Path, no_drawing: None) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for root in (file, file / "below"):
        with pytest.raises(UserError, match=r"dataset\.root.*SPLITMIX_CACHE") as caught:
            MiniDigits(root=str(root)).load()
        assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_cache_name_changes_with_recipe_text_and_library_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    base = recipe_hash(["a", "b"], {"numpy": "2.0"})
    assert len(base) == 12 and base == recipe_hash(["a", "b"], {"numpy": "2.0"})
    others = [
        recipe_hash(["a", "c"], {"numpy": "2.0"}),
        recipe_hash(["ab"], {"numpy": "2.0"}),
        recipe_hash(["a", "b"], {"numpy": "2.1"}),
    ]
    assert len({base, *others}) == 4
    names = {minidigits._cache_name()}
    read = Path.read_text

    def read_changed(path: Path, changed: str, **options: str) -> str:
        return read(path, **options) + ("#" if path.name == changed else "")

    for file in minidigits.RECIPE_FILES:
        monkeypatch.setattr(Path, "read_text", partialmethod(read_changed, file))
        names.add(minidigits._cache_name())
    assert len(names) == 1 + len(minidigits.RECIPE_FILES)
