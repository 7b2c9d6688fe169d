"""metrics.csv: columns, cut lines, and resume."""

import pytest

from splitmix.errors import UserError
from splitmix.reporting.csv_logger import CSVLogger, read_metrics


def log(logger, rounds):
    for number in rounds:
        validated = {"val_sa/1.0": number / 8} if number % 2 else {}
        logger.log_metrics({"loss": 1 / (number + 1), **validated}, number)


def test_a_new_column_widens_the_header_and_leaves_earlier_cells_empty(tmp_path):
    logger = CSVLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 2.0}, 0)
    logger.log_metrics({"sa": 0.5, "loss": 1.0}, 1)
    assert (tmp_path / "metrics.csv").read_text() == "round,loss,sa\n0,2.0,\n1,1.0,0.5\n"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("cut", ["", "4", "4,0.2,0.", "4,0.2,"])
@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_interrupted_and_resumed_equals_straight_through(tmp_path, step, cut):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    for folder in (straight, resumed):
        folder.mkdir()
    log(CSVLogger(straight / "metrics.csv"), range(6))
    log(CSVLogger(resumed / "metrics.csv"), range(4))
    with open(resumed / "metrics.csv", "a") as file:
        file.write(cut)
    again = CSVLogger(resumed / "metrics.csv")
    again.truncate(step)
    log(again, range(step, 6))
    assert (resumed / "metrics.csv").read_bytes() == (straight / "metrics.csv").read_bytes()


def test_truncating_twice_keeps_the_header(tmp_path):
    log(CSVLogger(tmp_path / "metrics.csv"), range(2))
    for _ in range(2):
        CSVLogger(tmp_path / "metrics.csv").truncate(0)
    assert (tmp_path / "metrics.csv").read_text() == "round,loss,val_sa/1.0\n"


def test_every_row_is_on_disk_at_once_and_reads_back_exactly(tmp_path):
    logger = CSVLogger(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 0.1 + 0.2}, 0)
    assert read_metrics(tmp_path / "metrics.csv") == [{"round": 0, "loss": 0.1 + 0.2}]
    logger.log_metrics({}, 1)
    assert read_metrics(tmp_path / "metrics.csv")[1] == {"round": 1}


def test_a_folder_that_is_gone_is_told_in_one_line(tmp_path):
    logger = CSVLogger(tmp_path / "gone" / "metrics.csv")
    with pytest.raises(UserError, match=r"metrics\.csv"):
        logger.log_metrics({"loss": 1.0}, 0)
