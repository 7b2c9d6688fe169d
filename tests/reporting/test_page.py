"""The HTML page: everything is inside it, and nothing a run says can become markup."""

import re

import pytest
from run_folders import write_run

from splitmix.commands.report import comparison_of
from splitmix.commands.run_files import current_results, load_run
from splitmix.reporting.comparison import Drawing, Part
from splitmix.reporting.kinds import make_all
from splitmix.reporting.page import page
from splitmix.reporting.report_table import Table
from splitmix.reporting.style import new_figure


@pytest.mark.slow
def test_the_page_is_self_contained_and_tells_what_made_each_run(tmp_path):
    folder = write_run(tmp_path / "a<b>", ["seed=3", "optimizer.lr=0.05", "name='x<y'"], {0.5: 0.8, 1.0: 0.9})
    run = load_run(folder, current_results(folder))
    parts, skipped = make_all(comparison_of([run], None))
    text = page("All", parts, [run], ["left out: <i>"], skipped)
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text) and "@import" not in text and "<script" not in text
    assert sum(source.startswith("data:") for source in sources) == sum(len(part.drawings) for part in parts) > 4
    assert text.count("<table>") == sum(len(part.tables) for part in parts)
    for told in (
        "optimizer.lr=0.05",
        "seed 3",
        "torch 2.14",
        "0123abc",
        "splitmix train seed=3",
        "name=&#x27;x&lt;y&#x27;",
    ):
        assert told in text, told
    assert "a&lt;b&gt;" in text and "a<b>" not in text
    for line in skipped:
        assert line.split()[1] in text
    # The result comes first, what is missing last.
    order = [
        text.index(words) for words in ("Split-Mix reaches", "<nav>", 'id="table1"', 'id="notes"', "skipped: joint")
    ]
    assert order == sorted(order) and "left out: &lt;i&gt;" in text
    # A line may break between links.
    assert re.search(r"</a>\s+<a", text)


def test_halves_stand_two_abreast_and_the_odd_one_alone(tmp_path):
    def table(letters):
        return Table("t", "c", ["method", "×1"], [["x" * letters, "1"]], [])

    def places(tables, drawings):
        parts = Part("k", "t", [table(n) for n in tables], [Drawing("d", "c", new_figure()) for _ in range(drawings)])
        return re.findall(r'<figure class="(.*?)">', page("t", [parts], []))

    assert places([200], 0) == places([9], 0) == ["wide"]
    assert places([9], 1) == places([9, 9], 0) == ["", ""]
    assert places([9, 200], 1) == ["wide", "", ""] and places([], 3) == ["", "", "alone"]
