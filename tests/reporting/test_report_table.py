"""A table in its forms: CSV numbers, Markdown, LaTeX and HTML with everything special escaped."""

import csv
import io
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

from splitmix.reporting.report_table import Entry, Table
from splitmix.reporting.tables import print_table


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
        "SA in %", "", "| method | ×1 |", "| --- | ---: |",
        r"| Split_Mix \<a\> | **84.0 ± 4.0** |", "| *paper* | 89.8 |",
        "", r"- a \& b",
    ]  # fmt: skip


def test_latex(table):
    text = table.latex()
    assert r"Split\_Mix $<$a$>$ & \textbf{84.0 $\pm$ 4.0} \\" in text and r"\caption{SA in \% A \& b.}" in text
    assert r"method & $\times$1 \\" in text and r"\begin{tabular}{lr}" in text and r"\footnotesize\emph{paper}" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


def test_html_escapes(table):
    text = table.html()
    assert "Split_Mix &lt;a&gt;" in text and '<td class="best">84.0 ± 4.0</td>' in text and "caption" not in text


def test_an_empty_entry_has_no_marks():
    table = Table("t", "c", ["a", "b"], [["x", Entry("", aside=True)]], [])
    assert "| x |  |" in table.markdown() and "emph" not in table.latex()


def test_markup_in_a_name_is_printed_as_it_is():
    file = io.StringIO()
    print_table(Table("t", "[b]c[/b]", ["[i]h", "×1"], [["[red]x[/red]", "1"]], []).text(), file)
    assert "[red]x[/red]" in file.getvalue() and "\\" not in file.getvalue()
    assert "[b]c[/b]" in file.getvalue() and "[i]h" in file.getvalue()


HOSTILE = [
    "<script>alert(1)</script>", "[/red]", "[red]a", "*a*", "$x^{2}$ & \\input{/etc/passwd} %", "a|b\nc",
    "\x1b[31m\x00\ud800",
    "`a` [b](http://c) _d_ ~e~", "\u4e2d\u6587 \U0001f600", "x" * 500, "word " * 60, "' onload=\"a", "",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_stay_words_in_every_form(text):
    table = Table("t", text, [text, "×1"], [[text, Entry(text, best=True)]], [{"method": text}], notes=[text])
    file = io.StringIO()
    print_table(table.text(), file)
    assert "\x1b" not in file.getvalue() and "\x00" not in file.getvalue()
    page = xml.etree.ElementTree.fromstring(table.html())
    assert {element.tag for element in page.iter()} <= {"table", "thead", "tbody", "tr", "th", "td"}
    # Header, rule, row: a cell neither ends its line nor begins another cell.
    lines = [line for line in table.markdown().splitlines() if line.startswith("| ")]
    assert len(lines) == 3 and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    assert not re.search(r"(?<!\\)[<$`]", table.markdown())
    assert next(csv.DictReader(io.StringIO(table.csv(), newline="")))["method"] == text or "\x00" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_with_hostile_words_everywhere(tmp_path):
    tables = [
        Table(
            "t",
            text,
            [text, "×1"],
            [[text, Entry(text, best=True)], [Entry("paper", aside=True), text]],
            [],
            notes=[text],
        )
        for text in HOSTILE
    ]
    # The rules of booktabs, which a small TeX installation may lack.
    rules = "".join(rf"\newcommand{{\{name}}}{{\hline}}" for name in ("toprule", "midrule", "bottomrule"))
    body = "\n".join(f"{table.latex()}\\clearpage" for table in tables)
    text = rf"\documentclass{{article}}{rules}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "a.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
