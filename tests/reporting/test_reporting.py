"""Metrics file, progress, tables, figure."""

import io

from PIL import Image

from splitmix.reporting.csv_logger import CSV, read_metrics
from splitmix.reporting.figures import convergence_figure
from splitmix.reporting.progress import Progress
from splitmix.reporting.tables import WidthRow, print_table, quantity, width_table


def test_metrics_survive_a_new_column_a_cut_line_and_a_resume(tmp_path):
    logger = CSV().build(tmp_path)
    logger.log_metrics({"loss": 1.5}, 0)
    logger.log_metrics({"loss": 1.25, "sa": 0.5}, 1)
    logger.log_metrics({"loss": 1.0}, 2)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("3,0.")
    again = CSV().build(tmp_path)
    again.truncate(2)
    again.log_metrics({"loss": 0.75, "sa": 0.25}, 2)
    rows = read_metrics(tmp_path / "metrics.csv")
    expected = [
        {"round": 0, "loss": 1.5},
        {"round": 1, "loss": 1.25, "sa": 0.5},
        {"round": 2, "loss": 0.75, "sa": 0.25},
    ]
    assert rows == expected


def test_progress_in_a_log_is_one_plain_line_per_round():
    stream = io.StringIO()
    with Progress(3, 1, stream) as progress:
        progress.update(1.234, 0.567, 2.0)
        progress.update(1.0, None, 2.0)
    first, second = stream.getvalue().splitlines()
    assert first.startswith("round 2/3  loss 1.234  val SA 56.7 %") and second.startswith(
        "round 3/3  loss 1.000  2.0 s"
    )


def test_the_table_tells_every_width():
    stream = io.StringIO()
    print_table(width_table([WidthRow(0.125, 0.5, 0.456, 1194304, 224194, 896776)]), stream)
    for part in ("×0.125", "50.0 %", "45.6 %", "1.19 M", "224 k", "897 kB"):
        assert part in stream.getvalue()
    assert quantity(5e9) == "5 G" and quantity(12) == "12 "


def test_the_figure_is_a_picture(tmp_path):
    convergence_figure(tmp_path / "c.png", [0, 1], {0.5: [0.1, 0.2], 1.0: [0.2, 0.3]})
    assert Image.open(tmp_path / "c.png").size == (900, 600)
    assert len(list(tmp_path.iterdir())) == 1
