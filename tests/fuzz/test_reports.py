"""Reports on made-up sets of runs: every kind is written or skipped with a reason, and the page is well-formed."""

import tempfile
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_folders import BUDGETS, attacked, record, write_run

from splitmix.commands.report import comparison_of
from splitmix.commands.run_files import load_run, read_whole
from splitmix.reporting.kinds import KINDS, make_all
from splitmix.reporting.page import page
from splitmix.reporting.runs import latest_of_equal

VOID = {"meta", "img"}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["<b>", "</td>", "$x^{$", "a|b", "\\input{x}", "[/red]", "../..", "x" * 300, "\x00\x1b[31m", "\ud800"]
)
SHARE = st.floats(0, 1)
OVERRIDES = st.sampled_from(
    [
        [], ["algorithm=heterofl"], ["algorithm=fedavg"], ["algorithm=fedavg", "algorithm.width=0.125"],
        ["model.bn=tracked"], ["clients_per_round=2"], ["budget.widths=8-4-2"], ["algorithm=fjord"],
    ]
)  # fmt: skip


@st.composite
def made_up_runs(draw):
    """Arguments of `write_run` for a few runs on the same domains."""
    domains = draw(st.sampled_from([("handwritten", "coarse"), ("same", "same")]) | st.tuples(WORDS, WORDS))
    dataset, attack = draw(WORDS), draw(WORDS)
    runs = []
    for number in range(draw(st.integers(1, 5))):
        sa = draw(st.dictionaries(st.sampled_from([0.125, 0.25, 0.5, 1.0]), SHARE, min_size=1))
        grid = draw(st.dictionaries(st.tuples(st.sampled_from(sorted(sa)), st.sampled_from([0.0, 0.5, 1.0])),
                                    st.tuples(SHARE, SHARE), max_size=6))  # fmt: skip
        tests = attacked(grid, attack) if attack != "none" else []
        tests += [record(1.0, 0.5, bn="post")] if draw(st.booleans()) else []
        overrides = [*draw(OVERRIDES), f"seed={draw(st.integers(1, 3))}"]
        changes = {"domains": domains, "results": {"dataset": dataset}, "tests": tests}
        changes |= {"budgets": draw(st.sampled_from([BUDGETS, (1.0,) * 4])), "started": f"2026-01-01T00:0{number}"}
        if draw(st.booleans()):
            changes["results"]["tests"] = []
        runs.append((overrides, sa, {**changes, "validation": draw(st.lists(SHARE, max_size=3))}))
    return runs


class Tags(HTMLParser):
    """Fails where an element is closed that is not the open one."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "b", "td"} or (tag == "td" and self.open[-1] == "tr")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # letters that a font lacks
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(made_up_runs())
def test_every_kind_is_shown_or_skipped_with_a_reason(made):
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for number, (overrides, sa, changes) in enumerate(made):
            path = write_run(Path(folder) / str(number), overrides, sa, **changes)
            runs.append(load_run(path, read_whole(path / "results.json")))
        kept, notes = latest_of_equal(runs)
        parts, skipped = make_all(comparison_of(kept, None))
        text = page("title", parts, kept, notes, skipped)
    assert {part.kind for part in parts} | {line.split()[1] for line in skipped} == set(KINDS)
    assert all(line.endswith(")") and not line.endswith("()") for line in skipped)
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert not tags.open
    for table in (table for part in parts for table in part.tables):
        xml.etree.ElementTree.fromstring(table.html())
        assert table.text() and table.markdown() and table.latex() and table.csv()
        assert not set("/.\\\x00") & set(table.name)
