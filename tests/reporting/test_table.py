"""A table in its forms: CSV numbers, Markdown, LaTeX and HTML with everything special escaped."""

import csv
import io

import pytest

from splitmix.reporting.table import Entry, Table, latex


@pytest.fixture
def table():
    rows = [[Entry("Split_Mix <a>"), Entry("84.0 ± 4.0", best=True)], [Entry("paper", aside=True), "89.8"]]
    records = [{"method": "Split_Mix", "mean": 0.84, "std": float("nan")}, {"method": "b", "mean": 0.5, "paper": 0.9}]
    return Table("t", "SA in %", ["method", "×1"], rows, records, notes=["a & b"])


def test_csv_holds_the_numbers(table):
    lines = list(csv.DictReader(io.StringIO(table.csv())))
    assert lines[0] == {"method": "Split_Mix", "mean": "0.84", "std": "", "paper": ""}
    assert lines[1]["paper"] == "0.9"


def test_markdown(table):
    assert table.markdown().splitlines() == [
        "SA in %", "", "| method | ×1 |", "| --- | ---: |", "| Split_Mix <a> | **84.0 ± 4.0** |", "| *paper* | 89.8 |",
        "", "- a & b",
    ]  # fmt: skip


def test_latex(table):
    text = table.latex()
    assert r"Split\_Mix $<$a$>$ & \textbf{84.0 $\pm$ 4.0} \\" in text and r"\caption{SA in \% A \& b.}" in text
    assert r"method & $\times$1 \\" in text and r"\begin{tabular}{lr}" in text and r"\small\emph{paper}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert latex("λ=0.5 50% a_b {x} #1 ~^\\").isascii()


def test_html_escapes(table):
    text = table.html()
    assert "Split_Mix &lt;a&gt;" in text and '<td class="best">84.0 ± 4.0</td>' in text and "<li>a &amp; b</li>" in text
