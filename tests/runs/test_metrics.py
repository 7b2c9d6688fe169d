"""metrics.csv: columns, cut lines, and resume."""

import pytest

from splitmix.errors import UserError
from splitmix.runs.csv_logger import CSVLogger
from splitmix.runs.metrics import read_metrics


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


DAMAGE = {
    "round,loss\n0,high\n": r"line 2: loss is high",
    "round,loss\n0,nan\n": "loss is nan",
    "round,loss\n0,1e999\n": "loss is 1e999",
    "round,loss\n0,1_0\n": "loss is 1_0",
    "round,loss\n0.5,1\n": "round is 0.5",
    "round,loss\n,1\n": "round is : rounds are whole",
    "round,loss\n1,1\n1,1\n": "round is 1: rounds are whole and ascend",
    "round,loss\n0,1,2\n": "longer",
    "round,loss\n0\n": "shorter",
    "loss\n0\n": "the column round",
    "round,a,a\n0,1,1\n": "each column once",
    "round,val_sa/wide\n0,1\n": "val_sa/wide names no width",
    'round,loss\n0,"1\n': "unexpected end",
    "round,loss\n0,\0\n": "line 2",
}


@pytest.mark.parametrize(("text", "told"), DAMAGE.items())
def test_damage_is_one_line_on_resume(tmp_path, text, told):
    (tmp_path / "metrics.csv").write_text(text)
    for read in (read_metrics, CSVLogger):
        with pytest.raises(UserError, match=told) as error:
            read(tmp_path / "metrics.csv")
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "round,loss\n", "round,loss\n0,1\n2,1\n", "round,loss\n0,1\n1,1\n", "loss"])
def test_lost_rounds_are_told_on_resume(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"lacks rounds before round 3.*or remove it"):
        CSVLogger(path).truncate(3)
    assert path.read_text() == text


def test_a_file_that_was_removed_is_begun_anew_with_a_word(tmp_path, caplog):
    for step in (3, 4):
        logger = CSVLogger(tmp_path / "metrics.csv")
        with caplog.at_level("WARNING", "splitmix"):
            logger.truncate(step)
        assert "begins with round 3: the metrics of earlier rounds are lost" in caplog.text
        logger.log_metrics({"loss": 1.0}, step)
    assert [row["round"] for row in read_metrics(tmp_path / "metrics.csv")] == [3, 4]


def test_a_folder_in_its_place_is_told(tmp_path):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(UserError, match="not a regular file"):
        CSVLogger(tmp_path / "metrics.csv")
