"""Images listed by a CSV file or in the format of Hugging Face: read right, and what is wrong is named."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from layouts import tree
from PIL import Image
from variants import mostly_slow

from splitmix.commands import main
from splitmix.data.csv_images import CsvImages
from splitmix.data.huggingface import HuggingFaceImages
from splitmix.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def listed(tmp_path):
    """A folder of images of two domains, and the table of them as a frame; dogs are lighter than cats."""
    root = tree(tmp_path / "images", n=9)
    rows = [
        {
            "path": str(file.relative_to(root)),
            "label": file.parts[-2],
            "domain": file.parts[-4],
            "split": file.parts[-3],
        }
        for file in sorted(root.rglob("*.png"))
    ]
    return root, pd.DataFrame(rows)


def right(data):
    """Whether every image has its label, and classes are mixed."""
    for part in (data.train, data.test):
        light = part.images.float().mean((1, 2, 3)) > 70
        assert torch.equal(light.long(), part.labels)
    assert 0 < data.train.labels[:9].float().mean() < 1
    return True


def test_a_csv_file_with_domains_and_splits(listed):
    root, frame = listed
    frame.sample(frac=1, random_state=1).assign(note="x, y").to_csv(root / "images.csv", index=False)
    settings = CsvImages(str(root), image_size=8, domain_order=1)
    settings.check()
    assert (settings.domains, settings.classes, settings.input_shape) == (("b", "a"), ("cat", "dog"), (3, 8, 8))
    data = settings.load()
    assert right(data) and data.train.counts == (18, 18) and data.test.counts == (6, 6)


def test_without_a_split_a_share_of_every_class_is_set_aside(listed):
    root, frame = listed
    frame[["path", "label"]].to_csv(root / "own.csv", index=False, encoding="utf-8-sig")
    data = CsvImages(str(root), "own.csv", test_fraction=0.25, image_size=8).load()
    assert right(data) and data.domains == ("all",)
    assert data.test.labels.bincount().tolist() == [6, 6] and data.train.labels.bincount().tolist() == [18, 18]


def test_numbers_as_classes_keep_their_order(listed):
    root, frame = listed
    frame.assign(label=[("2", "10")[label == "dog"] for label in frame.label]).to_csv(root / "images.csv", index=False)
    settings = CsvImages(str(root), image_size=8)
    assert settings.classes == ("2", "10") and right(settings.load())


@pytest.mark.parametrize(
    ("spoil", "message"),
    mostly_slow(
        [
            (lambda frame: frame.drop(columns="label"), "has no column label, only path, domain, split"),
            (lambda frame: frame.iloc[:0], "holds no image"),
            (lambda frame: frame.assign(label="cat"), "at least two classes are needed, found 1"),
            (lambda frame: frame.assign(split="val"), "row 1 has the split val: write train or test"),
            (lambda frame: frame.assign(domain=""), "a domain is called"),
            (lambda frame: frame[(frame.domain == "a") | (frame.split == "train")], "the domain b has no test image"),
            (lambda frame: frame.assign(path="nothing.png"), "nothing.png is missing"),
            (lambda frame: frame.assign(path="images.csv"), "is truncated or no image of a known format"),
            (lambda frame: frame.assign(path="a\0b"), "no file can have this name"),
        ]
    ),
)
def test_a_table_that_lacks_something_is_refused_in_one_line(listed, spoil, message):
    root, frame = listed
    spoil(frame).to_csv(root / "images.csv", index=False)
    with pytest.raises(UserError, match=message) as error:
        CsvImages(str(root), image_size=8).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CsvImages(None), "dataset.root is not set"),
        (CsvImages("/nowhere"), "images.csv is missing"),
        (CsvImages("{root}", "rows.csv"), "rows.csv is no table of comma-separated values"),
        (CsvImages("{root}", "bytes.csv"), "cannot be read"),
        (CsvImages("{root}", "good.csv", test_fraction=1.5), "dataset.test_fraction=1.5: give a share between 0 and 1"),
        (CsvImages("{root}", "good.csv", image_size=0), "dataset.image_size=0"),
        (CsvImages("{root}", "good.csv", domain_order=3), "dataset.domain_order=3: give a number from 0 to 0"),
        (HuggingFaceImages(), "dataset.root and dataset.source are not set"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(listed, settings, message):
    root, frame = listed
    (root / "rows.csv").write_text("path,label\na,b,c,d\ne,f,g,h,i\n")
    (root / "bytes.csv").write_bytes(b"path,label\n\xff,\xfe\n")
    frame[["path", "label"]].to_csv(root / "good.csv", index=False)
    if settings.root == "{root}":
        object.__setattr__(settings, "root", str(root))
    with pytest.raises(UserError, match=message) as error:
        settings.check()
    assert "\n" not in str(error.value)


def test_a_csv_file_from_the_command_line(listed, capsys):
    root, frame = listed
    frame.to_csv(root / "images.csv", index=False)
    words = ["dataset=csv", f"dataset.root={root}", "dataset.image_size=8"]
    assert main(["data-check", *words]) == 0
    assert "36" in capsys.readouterr().out


def encoded(shade):
    """A small PNG of one shade of grey."""
    stream = io.BytesIO()
    Image.fromarray(np.full((9, 11, 3), shade, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.slow
class TestHuggingFace:
    @pytest.fixture
    def parquet(self, tmp_path, monkeypatch):
        """A Parquet file as `datasets` writes it, 40 images of two places."""
        datasets = pytest.importorskip("datasets", reason="needs the extra huggingface")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
        features = datasets.Features(
            {
                "picture": datasets.Image(),
                "kind": datasets.ClassLabel(names=["cat", "dog"]),
                "place": datasets.Value("string"),
            }
        )
        kinds = [number % 2 for number in range(40)]
        columns = {
            "picture": [{"bytes": encoded(40 + 80 * kind), "path": None} for kind in kinds],
            "kind": kinds,
            "place": ["north" if number < 20 else "south" for number in range(40)],
        }
        made = datasets.Dataset.from_dict(columns, features=features)
        made.to_parquet(tmp_path / "train.parquet")
        return tmp_path / "train.parquet"

    def settings(self, root, **changes):
        given = {"image": "picture", "label": "kind", "domain": "place", "test_split": None, "image_size": 8}
        return HuggingFaceImages(str(root), **{**given, **changes})

    def test_a_parquet_file(self, parquet):
        settings = self.settings(parquet)
        settings.check()
        assert (settings.domains, settings.classes) == (("north", "south"), ("cat", "dog"))
        data = settings.load()
        assert right(data) and data.train.counts == (16, 16) and data.test.counts == (4, 4)
        again = self.settings(parquet).load()
        assert torch.equal(again.train.images, data.train.images)

    def test_a_folder_of_splits(self, tmp_path, parquet):
        folder = tmp_path / "saved"
        (folder / "data").mkdir(parents=True)
        for split in ("train", "test"):
            (folder / "data" / f"{split}-00000-of-00001.parquet").write_bytes(parquet.read_bytes())
        data = self.settings(folder, test_split="test", domain=None).load()
        assert right(data) and data.domains == ("all",) and data.train.counts == data.test.counts == (40,)

    def test_a_folder_of_images(self, tmp_path, parquet):
        root = tree(tmp_path / "tree", domains=("all",), n=9) / "all"
        data = HuggingFaceImages(str(root), image_size=8).load()
        assert right(data) and data.classes == ("cat", "dog") and data.train.counts == (18,)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"image": "pixels"}, "dataset.image=pixels: the split train of .* has the columns picture, kind, place"),
            ({"image": "kind"}, "dataset.image=kind: this column of .* holds no images"),
            ({"train_split": "train", "test_split": "dev"}, "dataset.test_split=dev: .* has the splits train"),
            ({"root": "/nowhere.parquet"}, "dataset.root=/nowhere.parquet: no such file or folder"),
            ({"root": __file__}, "cannot be loaded"),
        ],
    )
    def test_mistakes_are_one_line(self, parquet, changes, message):
        with pytest.raises(UserError, match=message) as error:
            self.settings(changes.pop("root", parquet), **changes).check()
        assert "\n" not in str(error.value)

    def test_a_damaged_image_is_named_by_its_row(self, tmp_path, parquet):
        import datasets

        frame = pd.read_parquet(parquet)
        frame.at[3, "picture"] = {"bytes": encoded(0)[:40], "path": None}
        features = datasets.Dataset.from_parquet(str(parquet)).features
        datasets.Dataset.from_pandas(frame, features=features).to_parquet(tmp_path / "bad.parquet")
        with pytest.raises(UserError, match=r"bad\.parquet, row 3 is truncated or no image"):
            self.settings(tmp_path / "bad.parquet").load()

    def test_training_on_it(self, tmp_path, parquet):
        words = [
            "dataset=huggingface", f"dataset.root={parquet}", "dataset.image=picture", "dataset.label=kind",
            "dataset.test_split=null", "dataset.image_size=8", "clients_per_domain=2", "rounds=1", "batch_size=4",
            "partition.min_samples=4", "engine.workers=1",
        ]  # fmt: skip
        assert main(["train", *words, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
