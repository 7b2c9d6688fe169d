"""The verbs about data: what is there, unpacking archives, checking, drawing; and a federation on each kind of data."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from layouts import cifar10, digits, domainnet, tree
from PIL import Image
from variants import mostly_slow

from splitmix.commands import main


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def zipped(folder: Path, archive: Path, prefix: str) -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                opened.write(file, f"{prefix}{file.relative_to(folder)}")
    return archive


def test_list_tells_what_is_there(place, capsys):
    digits(place / "data" / "digits", parts=1)
    assert main(["data-list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    state = {line.split()[0]: lines[number + 1] for number, line in enumerate(lines) if not line.startswith(" ")}
    names = {"cifar10", "csv", "digits", "domainnet", "folder", "huggingface", "minidigits", "torchvision"}
    assert set(state) == names
    assert state["digits"].strip() == "ready" and "splitmix data-prepare dataset=cifar10" in state["cifar10"]


@pytest.mark.slow
def test_prepare_unpacks_the_archive_and_training_then_runs(place, capfd):
    zipped(digits(place / "made", n=40, n_test=20), place / "digit_dataset.zip", "digit_dataset/")
    assert main(["data-prepare", "dataset=digits"]) == 2
    assert "fetch digit_dataset.zip" in capfd.readouterr().err
    assert main(["data-prepare", "dataset=digits", "archive=digit_dataset.zip"]) == 0
    assert "55 files to data/digits" in capfd.readouterr().out
    assert main(["data-check", "dataset=digits"]) == 0
    assert "SynthDigits" in capfd.readouterr().out
    small = ["train_fraction=0.3", "clients_per_domain=2", "rounds=1", "budget.widths=8", "engine.workers=1"]
    assert main(["train", "dataset=digits", *small]) == 0
    assert main(["test", "test.widths=0.125"]) == 0


@pytest.mark.slow
def test_prepare_domainnet_from_several_archives(place, capfd):
    made = domainnet(place / "made", per_class=1)
    archives = [zipped(made / site, place / f"{site}.zip", f"{site}/") for site in ("real", "clipart", "infograph")]
    archives += [zipped(made / site, place / f"{site}.zip", f"{site}/") for site in ("painting", "quickdraw", "sketch")]
    archives.append(zipped(made / "DomainNet", place / "lists.zip", "domainnet_dataset/DomainNet/"))
    names = ",".join(archive.name for archive in archives)
    assert main(["data-prepare", "dataset=domainnet", f"archive=[{names}]"]) == 0, capfd.readouterr().err
    assert main(["data-check", "dataset=domainnet"]) == 0
    assert "256x256" in capfd.readouterr().out
    assert (
        main(["data-show", "dataset=domainnet", "clients_per_domain=1", "partition.min_samples=4", "out=pictures"]) == 0
    )
    for name in ("samples", "classes", "clients"):
        assert min(Image.open(place / "pictures" / f"{name}.png").size) > 200


@pytest.mark.slow
def test_archives_of_strangers_stay_in_the_folder(place, capfd):
    link = zipfile.ZipInfo("MNIST/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for name, members in {
        "up": ["MNIST/../../escaped"],
        "root": ["/tmp/MNIST/escaped"],
        "windows": ["MNIST\\..\\..\\escaped"],
        "drive": ["C:/MNIST/escaped"],
        "link": [link],
    }.items():
        with zipfile.ZipFile(place / f"{name}.zip", "w") as opened:
            for member in ["MNIST/partitions/first.pkl", *members]:
                opened.writestr(member, b"/etc/passwd")
        assert main(["data-prepare", "dataset=digits", f"archive={name}.zip", "dataset.root=into/here"]) == 2
        assert "was not unpacked" in capfd.readouterr().err
        assert not list(place.rglob("escaped")) and not list(place.rglob("first.pkl"))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("MNIST/test.pkl", bytes(range(256)) * 4000)
    data = bytearray(whole.getvalue())
    data[60:70] = b"\x00" * 10
    for name, content in {"cut": whole.getvalue()[:200], "damaged": bytes(data), "text": b"hello"}.items():
        (place / f"{name}.zip").write_bytes(content)
        assert main(["data-prepare", "dataset=digits", f"archive={name}.zip"]) == 2
        error = capfd.readouterr().err
        assert "is no zip or tar archive or damaged" in error and error.count("\n") == 1
        assert not list(place.rglob("test.pkl"))
    assert main(["data-prepare", "dataset=digits", "archive=absent.zip"]) == 2
    assert "archive=absent.zip" in capfd.readouterr().err


def test_cifar10_is_prepared_from_its_archive(place, capfd):
    made = cifar10(place / "made", n=10)
    with tarfile.open(place / "cifar-10-python.tar.gz", "w:gz") as opened:
        opened.add(made / "cifar-10-batches-py", "cifar-10-batches-py")
    assert main(["data-prepare", "dataset=cifar10", "archive=cifar-10-python.tar.gz"]) == 0, capfd.readouterr().err
    assert main(["data-check", "dataset=cifar10"]) == 0
    assert main(["data-prepare", "dataset=folder", "dataset.root=made", "archive=cifar-10-python.tar.gz"]) == 2
    assert "dataset=folder comes in no archive" in capfd.readouterr().err


@pytest.mark.slow
def test_debug_quick_fits_a_small_dataset_of_ones_own(place, capfd):
    root = tree(place / "tree", n=8)
    small = ["dataset=folder", f"dataset.root={root}", "rounds=1", "budget.widths=8", "engine.workers=1"]
    assert main(["train", *small, "debug=quick"]) == 0, capfd.readouterr().err
    assert "few images: train_fraction=1 partition.min_samples=4 instead" in capfd.readouterr().out
    assert main(["test", "run=latest"]) == 0
    assert main(["train", *small, "debug=quick", "fit_data=false"]) == 2
    assert "too few to give every client 16" in capfd.readouterr().err


@pytest.mark.slow
def test_check_names_every_damaged_image(place, capfd):
    root = tree(place / "tree")
    for name in ("3.png", "7.png"):
        (root / "b" / "train" / "dog" / name).write_bytes(b"\x89PNG\r\n")
    assert main(["data-check", "dataset=folder", f"dataset.root={root}"]) == 2
    error = capfd.readouterr().err
    assert "dog/3.png is truncated or no image" in error and "dog/7.png" in error and error.count("\n") == 1
    assert main(["data-check", "dataset=folder"]) == 2
    assert "dataset.root is not set" in capfd.readouterr().err
    assert not list((place / "cache").glob("*.npy"))


@pytest.mark.slow
def test_a_skewed_federation_trains_and_tests_on_cifar10(place):
    cifar10(place / "data" / "cifar10", n=120)
    skewed = ["dataset=cifar10", "partition=classes", "clients_per_domain=4", "model=preresnet18", "val_fraction=0.2"]
    small = ["rounds=1", "budget.widths=8-8", "batch_size=16", "engine.workers=1", "test.batch_size=16"]
    assert main(["train", *skewed, *small]) == 0
    assert main(["data-show", *skewed[:3], "out=pictures"]) == 0


@pytest.mark.parametrize("partition", ["dirichlet", "label_dirichlet"])
@pytest.mark.slow
def test_ragged_federations_train(place, partition):
    small = ["clients_per_domain=4", "train_fraction=0.4", "rounds=1", "batch_size=8", "engine.workers=1"]
    assert main(["train", f"partition={partition}", "budget.widths=8", *small, "partition.min_samples=32"]) == 0


@pytest.mark.slow
def test_small_clients_are_refused_where_everyone_does_equally_many_steps(place, capfd):
    small = ["partition=dirichlet", "partition.min_samples=16", "batch_size=64", "train_fraction=0.1"]
    assert main(["train", *small, "clients_per_domain=5"]) == 2
    assert (
        "training images, less than a batch; lower batch_size or raise partition.min_samples" in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "error"),
    mostly_slow(
        [
            ("data-show clients_per_domain=0", "clients_per_domain=0: give at least 1"),
            ("data-show train_fraction=2", "train_fraction=2: give a share"),
            ("data-show train_fraction=abc", "train_fraction=abc: expected a number"),
            ("data-show val_fraction=null", "val_fraction=null: expected a number"),
            ("data-show out=null", "out=null: expected text"),
            ("data-show out=/proc/version/x", "out=/proc/version/x: cannot write there"),
            ("data-check datset=digits", "did you mean dataset"),
            (
                "data-prepare dataset=torchvision dataset.source=ImageNet",
                "dataset.source=ImageNet: choose one of MNIST",
            ),
            (
                "data-prepare dataset=torchvision dataset.root=/proc/x",
                "dataset.source=FashionMNIST: the download failed",
            ),
            ("data-prepare dataset=folder dataset.root=nowhere", "dataset.root=nowhere: no such folder"),
        ],
        3,
    ),
)
def test_mistakes(words, error, capfd):
    assert main(words.split()) == 2
    said = capfd.readouterr().err
    assert error in said and said.count("\n") == 1
