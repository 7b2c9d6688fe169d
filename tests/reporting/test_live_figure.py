"""The live figure: plain lines outside notebooks; in one the same two outputs are brought up to date."""

import sys
from types import SimpleNamespace

import pytest

import splitmix
from splitmix.reporting import live_figure


@pytest.mark.slow
def test_outside_notebooks_it_prints_a_line_per_round(federation, capsys):
    federation().fit(widths=[1.0], callbacks=[splitmix.LiveFigure(every=2)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["round 2/3", "round 3/3"]
    assert "validation SA" in lines[0] and lines[1].endswith("ETA 0:00")


@pytest.mark.slow
@pytest.mark.parametrize("widths", [[0.125, 1.0], []])
def test_in_a_notebook_it_updates_what_it_shows(federation, monkeypatch, capsys, widths):
    updates = []

    class Handle:
        def __init__(self, what):
            updates.append(what)
            self.update = updates.append

    shown = SimpleNamespace(
        Pretty=lambda text: text, Image=lambda data: data, display=lambda what, display_id: Handle(what)
    )
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(live_figure, "in_notebook", lambda: True)
    federation(rounds=2).fit(widths=widths, callbacks=[splitmix.LiveFigure()])
    assert [line.split(",")[0] for line in updates[::2]] == ["round 1/2", "round 2/2"]
    assert all(picture.startswith(b"\x89PNG") for picture in updates[1::2]) and not capsys.readouterr().out
    assert (updates[1] != updates[3]) == bool(widths)


def test_a_notebook_is_told_by_its_kernel(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not live_figure.in_notebook()
    for shell, there in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert live_figure.in_notebook() == there
