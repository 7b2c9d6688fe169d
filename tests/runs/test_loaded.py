"""A loaded run's tables: metrics.csv and the test records as frames."""

from types import SimpleNamespace

import pytest
from run_folders import record

from splitmix.errors import UserError
from splitmix.runs.loaded import LoadedRun


def loaded(folder, tests=()):
    method = SimpleNamespace(name="splitmix", widths=(0.125, 1.0))
    return LoadedRun(folder, {}, None, {"tests": list(tests)}, method, SimpleNamespace(round=2), "best")


def test_metrics_are_a_frame_by_round(tmp_path):
    (tmp_path / "metrics.csv").write_text("round,train_loss,val_sa/1.0\n0,2.5,\n1,2.0,0.5\n")
    frame = loaded(tmp_path).metrics()
    assert frame.index.tolist() == [0, 1] and frame["train_loss"].tolist() == [2.5, 2.0]
    assert frame["val_sa/1.0"].isna().tolist() == [True, False]


def test_damaged_metrics_are_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("round,train_loss\n0,two\n")
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read \(line 2"):
        loaded(tmp_path).metrics()


def test_test_records_are_a_frame(tmp_path):
    attacked = record(1.0, 0.25, attack={"name": "linf_pgd", "eps": 8})
    frame = loaded(tmp_path, [record(0.125, 0.5), attacked]).tests()
    assert frame["attack"].tolist() == ["none", "linf_pgd"] and frame["accuracy"].tolist() == [0.5, 0.25]
    assert loaded(tmp_path).tests().empty


def test_it_says_what_it_is(tmp_path):
    assert repr(loaded(tmp_path)) == f"LoadedRun({tmp_path}: 2 rounds of splitmix, checkpoint best, widths up to 1)"
