"""Datasets on disk: small files of the real layouts are read right, and what is wrong is named."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import cifar10, digits, domainnet, tree
from PIL import Image
from torchvision import datasets, transforms

from splitmix.data.cifar10 import CIFAR10
from splitmix.data.digits import SHAPES, Digits
from splitmix.data.domainnet import DomainNet
from splitmix.data.folder import ImageFolder
from splitmix.data.image_cache import decode
from splitmix.data.partition import Uniform
from splitmix.data.torchvision_sets import TorchvisionSet
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.federation.budgets import Groups
from splitmix.federation.federation import Federation
from splitmix.models.alexnet import AlexNet
from splitmix.models.preresnet18 import PreResNet18

SMALL = {"engine": EngineSettings(lanes=8, workers=1, threads=1), "batch_size": 8, "rounds": 1, "budget": Groups("8-4")}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))


def test_digits_are_resized_like_torchvision_does(tmp_path):
    settings = Digits(str(digits(tmp_path / "digits")))
    data = settings.load(None, 0.3)
    assert data.domains == tuple(SHAPES) and data.train.counts == (180,) * 5 and data.test.counts == (40,) * 5
    assert data.train.images.shape == (900, 3, 28, 28) and data.fraction_applied
    for number, (domain, shape) in enumerate(SHAPES.items()):
        stored, labels = pickle.loads((tmp_path / "digits" / domain / "partitions" / "train_part2.pkl").read_bytes())
        row = data.train.domain_slice(number).start + 120 + 7
        image = transforms.Resize([28, 28])(Image.fromarray(stored[7]))
        if len(shape) == 2:
            image = transforms.Grayscale(3)(image)
        assert torch.equal(data.train.images[row], transforms.PILToTensor()(image)), domain
        assert data.train.labels[row] == labels[7]


@pytest.mark.parametrize(("fraction", "images"), [(1.0, 600), (0.35, 180), (0.1, 60), (0.05, 30)])
def test_the_fraction_of_digits_picks_whole_parts(tmp_path, fraction, images):
    data = Digits(str(digits(tmp_path / "digits", n_test=20))).load(None, fraction)
    assert data.train.counts == (images,) * 5


def test_domain_order_rotates_digits(tmp_path):
    root = str(digits(tmp_path / "digits", parts=1))
    base, turned = Digits(root).load(None, 0.1), Digits(root, 2).load(None, 0.1)
    assert turned.domains == ("USPS", "SynthDigits", "MNIST_M", "MNIST", "SVHN")
    assert torch.equal(turned.test.images[: 2 * 40], base.test.images[2 * 40 : 4 * 40])


@pytest.mark.slow
def test_a_federation_trains_on_digits(tmp_path):
    data = Digits(str(digits(tmp_path / "digits"))).load(None, 0.3)
    fed = Federation(data, clients_per_domain=2, train_fraction=0.3, **SMALL)
    # The fraction has picked the parts; it is not applied again.
    assert sum(len(client.train) + len(client.val) for client in fed.clients) == 900
    state, _ = fed.run_round(fed.initial_state())
    assert fed.test(state, [0.25]).n_images == 200


def test_cifar10_is_read_from_either_place(tmp_path):
    cifar10(tmp_path / "one")
    cifar10(tmp_path / "two" / "cifar10")
    data = CIFAR10(str(tmp_path / "one")).load()
    assert data.train.images.shape == (500, 3, 32, 32) and data.test.counts == (100,) and data.augmentation is not None
    raw = pickle.loads((tmp_path / "one/cifar-10-batches-py/data_batch_2").read_bytes())
    assert (data.train.images[103].flatten().numpy() == raw["data"][3]).all()
    assert data.train.labels[103] == raw["labels"][3]
    other = CIFAR10(str(tmp_path / "two"), augment=False).load()
    assert torch.equal(other.train.images, data.train.images) and other.augmentation is None
    fed = Federation(data, model=PreResNet18(), clients_per_domain=4, train_fraction=0.3, **SMALL)
    fed.test(fed.run_round(fed.initial_state())[0], [0.125])


@pytest.mark.slow
def test_domainnet_is_decoded_once(tmp_path, monkeypatch):
    settings = DomainNet(str(domainnet(tmp_path / "net", per_class=2)))
    told = []
    data = settings.load(told.append)
    assert data.train.images.shape == (120, 3, 256, 256) and data.test.counts == (20,) * 6 and told
    file = tmp_path / "net" / "clipart" / "feather" / "train1.png"
    image = transforms.Grayscale(3)(transforms.Resize([256, 256])(Image.open(file)))
    row = data.train.domain_slice(1).start + 3
    assert torch.equal(data.train.images[row], transforms.PILToTensor()(image)) and data.train.labels[row] == 1
    # A second run maps the same file; a changed source is decoded again.
    monkeypatch.setattr("splitmix.data.image_cache.decode", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(settings.load().test.images, data.test.images)
    monkeypatch.undo()
    Image.new("RGB", (9, 9), (255, 0, 0)).save(file)
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))
    assert settings.load().train.images[row, 0].unique().tolist() == [255]
    small = {**SMALL, "partition": Uniform(min_samples=4), "clients_per_domain": 2}
    fed = Federation(data, model=AlexNet(), **small)
    state, _ = fed.run_round(fed.initial_state())
    assert fed.test(state, [0.125]).n_images == 120


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "RGB", "YCbCr"])
def test_an_image_without_three_channels_becomes_grey(tmp_path, mode):
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8))
    file = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    colours.convert(mode).save(file)
    found = decode(file, 16)
    stored = Image.open(file)
    if mode in ("RGB", "YCbCr"):
        expected = np.asarray(stored.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    else:
        grey = np.asarray(stored.convert("L").resize((16, 16), Image.Resampling.BILINEAR))
        expected = np.stack([grey] * 3)
    assert found.shape == (3, 16, 16) and (found == expected).all()


def test_a_folder_of_images(tmp_path):
    settings = ImageFolder(str(tree(tmp_path / "tree")), image_size=16)
    settings.check()
    assert (settings.domains, settings.classes, settings.input_shape) == (("a", "b"), ("cat", "dog"), (3, 16, 16))
    data = settings.load()
    assert data.train.counts == (24, 24) and data.test.counts == (8, 8)
    # Dogs are lighter than cats: labels belong to their images, and classes are mixed along the file order.
    light = data.train.images.float().mean((1, 2, 3)) > 70
    assert torch.equal(light.long(), data.train.labels) and data.train.labels[:12].float().mean() not in (0, 1)
    one = ImageFolder(str(tree(tmp_path / "one", ("only",), ("x", "y", "z"))), image_size=16)
    fed = Federation(one.load(), clients_per_domain=2, **{**SMALL, "batch_size": 4}, partition=Uniform(min_samples=4))
    fed.test(fed.run_round(fed.initial_state())[0], [0.125])


def test_torchvisions_sets(tmp_path, monkeypatch):
    class Fake:
        """What torchvision's MNIST offers."""

        def __init__(self, root, train, download):
            n = 30 if train else 10
            assert not download
            self.data = torch.arange(n * 784).remainder(251).view(n, 28, 28).byte()
            self.targets = torch.arange(n).remainder(10)

    monkeypatch.setattr(datasets, "MNIST", Fake)
    data = TorchvisionSet("MNIST", str(tmp_path)).load()
    assert data.train.images.shape == (30, 3, 28, 28) and data.train.images.stride(1) == 0
    assert data.input_shape == (3, 28, 28) and data.domains == ("MNIST",) and len(data.classes) == 10
    assert TorchvisionSet("CIFAR100").input_shape == (3, 32, 32) and len(TorchvisionSet("CIFAR100").classes) == 100


def break_digits(root: Path, how: str) -> None:
    file = root / "SVHN" / "partitions" / "train_part0.pkl"
    images, labels = pickle.loads(file.read_bytes())
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    elif how == "domain":
        (root / "USPS").rename(root / "USPS_")
    elif how == "part":
        file.unlink()
    else:
        changed = {
            "dtype": (images.astype(np.float32), labels),
            "shape": (images[:, :, :, :1], labels),
            "labels": (images, labels + 5),
            "length": (images, labels[:-1]),
            "pair": (images,),
        }[how]
        file.write_bytes(pickle.dumps(changed))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "SVHN/partitions/train_part0.pkl is truncated or no pickle"),
        ("domain", "USPS is missing; fetch digit_dataset.zip"),
        ("part", "SVHN/partitions/train_part0.pkl is missing"),
        ("dtype", "train_part0.pkl: images must be uint8 [n, 32, 32, 3], found float32"),
        ("shape", "found uint8 [60, 32, 32, 1]"),
        ("labels", "labels must lie from 0 to 9, found"),
        ("length", "60 images, but labels of shape [59]"),
        ("pair", "must hold a pair"),
    ],
)
def test_damaged_digits_are_named(tmp_path, how, words):
    root = digits(tmp_path / "digits", parts=1)
    break_digits(root, how)
    with pytest.raises(UserError) as caught:
        Digits(str(root)).load(None, 0.1)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_other_damage_is_named(tmp_path):
    root = domainnet(tmp_path / "net", per_class=1)
    broken = root / "sketch" / "zebra" / "test0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"zebra/test0\.png is truncated or no image"):
        DomainNet(str(root)).load()
    broken.unlink()
    with pytest.raises(UserError, match=r"zebra/test0\.png is missing"):
        DomainNet(str(root)).load()
    listed = root / "DomainNet" / "real_train.pkl"
    listed.write_bytes(pickle.dumps((["/x/real/../../../etc/passwd"], ["bird"])))
    with pytest.raises(UserError, match="leaves the folder"):
        DomainNet(str(root)).load()
    listed.write_bytes(pickle.dumps((["/x/real/bird/0.png"], ["cow"])))
    with pytest.raises(UserError, match="unknown classes cow"):
        DomainNet(str(root)).load()
    assert not list((tmp_path / "cache").glob("*"))
    batches = cifar10(tmp_path / "c") / "cifar-10-batches-py"
    (batches / "data_batch_3").write_bytes(pickle.dumps({"data": np.zeros((5, 3072), np.uint8), "labels": [0] * 5}))
    with pytest.raises(UserError, match="data_batch_3: has 5 images, the other batches 100"):
        CIFAR10(str(tmp_path / "c")).load()
    (batches / "test_batch").unlink()
    with pytest.raises(UserError, match="test_batch is missing; run: splitmix data-prepare dataset=cifar10"):
        CIFAR10(str(tmp_path / "c")).check()
    place = tree(tmp_path / "tree")
    (place / "b" / "test" / "dog").rename(place / "b" / "test" / "wolf")
    with pytest.raises(UserError, match=r"b/test lacks the class dog"):
        ImageFolder(str(place)).check()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Digits("nowhere"), "dataset.root=nowhere: nowhere/MNIST is missing; fetch digit_dataset.zip"),
        (Digits(None), "dataset.root is not set"),
        (Digits("x", 5), "dataset.domain_order=5: give a number from 0 to 4"),
        (CIFAR10("nowhere"), "data_batch_1 is missing; run: splitmix data-prepare dataset=cifar10"),
        (DomainNet("nowhere"), "nowhere/real is missing; fetch the six archives"),
        (ImageFolder(None), "dataset.root is not set"),
        (ImageFolder("nowhere"), "dataset.root=nowhere: no such folder"),
        (TorchvisionSet("ImageNet"), "dataset.source=ImageNet: choose one of MNIST"),
        (TorchvisionSet("MNIST", "nowhere"), "run: splitmix data-prepare dataset=torchvision dataset.source=MNIST"),
    ],
)
def test_missing_data_say_what_to_do(settings, words):
    with pytest.raises(UserError) as caught:
        settings.check()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_every_site_is_read_from_its_own_folder_in_base_order(tmp_path):
    """Six domains in the order of the reference, each with its own pictures: told apart by their shade."""
    order = ["real", "clipart", "infograph", "painting", "quickdraw", "sketch"]
    root = tmp_path / "net"
    (root / "DomainNet").mkdir(parents=True)
    for number, site in enumerate(order):
        (root / site / "zebra").mkdir(parents=True)
        for split in ("train", "test"):
            Image.new("RGB", (4, 4), (10 * number, 0, split == "test")).save(root / site / "zebra" / f"{split}.png")
            listed = ([f"x/{site}/zebra/{split}.png"], ["zebra"])
            (root / "DomainNet" / f"{site}_{split}.pkl").write_bytes(pickle.dumps(listed))
    data = DomainNet(str(root)).load()
    assert list(data.domains) == order
    for split, images in enumerate((data.train, data.test)):
        assert images.images[:, :, 0, 0].tolist() == [[10 * number, 0, split] for number in range(6)]
    assert DomainNet(str(root), domain_order=2).load().domains == (*order[2:], *order[:2])
