"""Datasets of strangers on disk: files of a wrong kind, shape or content end in one line that names the file."""

import os
import pickle

import numpy as np
import pytest
import torch
from layouts import cifar10, digits, domainnet, tree
from torchvision import datasets

from splitmix.data.cifar10 import CIFAR10
from splitmix.data.digits import Digits
from splitmix.data.domainnet import DomainNet
from splitmix.data.folder import ImageFolder
from splitmix.data.torchvision_sets import TorchvisionSet
from splitmix.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))


def refused(settings, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        settings.load(None, 0.1)
    message = str(caught.value)
    assert all(word in message for word in words) and message.isprintable(), message


LABELS = {
    "ragged": ([[0], [1, 2]] * 30, "number 0 is a list"),
    "mixed": ([0, "one"] * 30, "number 1 is a str"),
    "none": ([0, None] * 30, "number 1 is a NoneType"),
    "huge": ([0, 2**63] * 30, "60 images, but labels of shape [60]"),
    "no number": ([0.0, float("nan")] * 30, "60 images, but labels of shape [60] (float64)"),
    "a number": (5, "labels must be a list or an array of whole numbers, found int"),
    "texts": (np.array(["a"] * 60), "60 images, but labels of shape [60]"),
    "flags": (np.zeros(60, bool), "(bool)"),
    "square": (np.zeros((60, 2), int), "labels of shape [60, 2]"),
    "scalar": (np.zeros((), int), "labels of shape []"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_none_are_named(tmp_path, kind):
    labels, words = LABELS[kind]
    root = digits(tmp_path / "digits", parts=1, n=60)
    file = root / "USPS" / "partitions" / "train_part0.pkl"
    images = pickle.loads(file.read_bytes())[0]
    file.write_bytes(pickle.dumps((images, labels)))
    refused(Digits(str(root)), "USPS/partitions/train_part0.pkl", words)


def test_ragged_labels_of_cifar10_and_sets_without_images_are_named(tmp_path):
    cifar10(tmp_path, n=4)
    file = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    for content, words in (
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, [2, 3]]}, "number 1 is a list"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "holds no image"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": {}}, "found dict"),
    ):
        file.write_bytes(pickle.dumps(content))
        refused(CIFAR10(str(tmp_path)), "data_batch_2", words)


LISTS = {
    "numbers": (([1, 2], ["bird", "bird"]), "its paths must be texts, but number 0 is a int"),
    "none": ((["a/b/c"], [None]), "its class names must be texts, but number 0 is a NoneType"),
    "no list": ((None, ["bird"]), "its paths must be a list of texts, found NoneType"),
    "nothing": (([], []), "lists no image"),
    "nul": ((["real/bird/\0.png"], ["bird"]), "no file can have this name"),
    "no text": ((["real/bird/\ud800.png"], ["bird"]), "no file can have this name"),
    "long": ((["real/bird/" + "x" * 999], ["bird"]), "is missing"),
    "classes": ((["a/b/c"] * 99, [f"\x1b[3{n}m" for n in range(99)]), "and 94 more"),
    "square": ((np.array([["a/b/c"]]), ["bird"]), "its paths must be a list of texts, found ndarray"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_domainnet_are_checked(tmp_path, kind):
    content, words = LISTS[kind]
    root = domainnet(tmp_path / "net", per_class=1)
    (root / "DomainNet" / "real_train.pkl").write_bytes(pickle.dumps(content))
    refused(DomainNet(str(root)), words)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(4, 30, 28), torch.zeros(4), "images must be uint8 [n, 28, 28], found float32 [4, 30, 28]"),
        (torch.zeros(4, 30, 28).byte(), torch.zeros(4), "found uint8 [4, 30, 28]"),
        (torch.zeros(4, 28, 28).byte(), torch.zeros(4, 3), "4 images, but labels of shape [4, 3]"),
        (torch.zeros(4, 28, 28).byte(), torch.full((4,), 10), "labels must lie from 0 to 9"),
        (torch.zeros(0, 28, 28).byte(), torch.zeros(0).long(), "holds no image"),
    ],
)
def test_torchvisions_files_of_a_wrong_shape_are_named(tmp_path, monkeypatch, images, labels, words):
    def fake(root, train, download):
        return type("Fake", (), {"data": images, "targets": labels})

    monkeypatch.setattr(datasets, "MNIST", fake)
    refused(TorchvisionSet("MNIST", str(tmp_path)), "the train set of", words, "splitmix data-prepare")


def test_pipes_do_not_hang(tmp_path):
    root = digits(tmp_path / "digits", parts=1)
    pipe = root / "MNIST" / "test.pkl"
    pipe.unlink()
    os.mkfifo(pipe)
    refused(Digits(str(root)), "MNIST/test.pkl is a named pipe, not a file")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    os.mkfifo(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte")
    refused(TorchvisionSet("MNIST", str(tmp_path)), "train-images-idx3-ubyte is a named pipe, not a file")
    os.mkfifo(tree(tmp_path / "tree") / "a" / "train" / "cat" / "x.png")
    refused(ImageFolder(str(tmp_path / "tree")), "cat/x.png is a named pipe, not a file")


def test_names_that_are_not_text(tmp_path):
    root = tree(tmp_path / "tree", ("a",))
    os.rename(root / "a" / "train" / "cat" / "1.png", os.fsencode(root / "a" / "train" / "cat") + b"/\xff\x1b.png")
    assert len(ImageFolder(str(root)).load().train.images) == 24
    for split in ("train", "test"):
        os.rename(root / "a" / split / "cat", os.fsencode(root / "a" / split) + b"/\xff")
    refused(ImageFolder(str(root)), "train/\\udcff: the name of a domain or class must be printable; rename it")


def test_a_limit_that_is_no_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_MAX_PICKLE_GIB", "much")
    refused(Digits(str(digits(tmp_path / "digits", parts=1))), "SPLITMIX_MAX_PICKLE_GIB=much: give a number above 0")
    monkeypatch.setenv("SPLITMIX_MAX_PICKLE_GIB", "1e-6")
    refused(Digits(str(tmp_path / "digits")), "takes more memory than allowed, the limit is 1e-06 GiB")
