"""Progress: plain lines in a log, a bar on a terminal."""

import io
import re

import pytest

from splitmix.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_plain_line_per_round():
    stream = io.StringIO()
    with Progress(30, 2, stream) as progress:
        progress.update(1.234, {"sa": 0.567}, 2.1)
        progress.message("[saved] best")
        progress.update(1.0, {}, 2.0)
    first, message, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"round 3/30  loss 1\.234  val SA 56\.7 %  2\.1 s  ETA \d+:\d\d", first)
    assert message == "[saved] best"
    assert second.startswith("round 4/30  loss 1.000  2.0 s") and "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar_and_messages_above_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Progress(3, 0, stream) as progress:
        progress.message("[saved] best")
        progress.update(1.234, {"sa": 0.567}, 2.1)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "[saved] best" in text and "1/3" in text.splitlines()[-1]
    assert "loss 1.234  val SA 56.7 %" in text


def test_the_bar_has_an_eta_when_rounds_are_slow(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with Progress(4, 0, Terminal()) as progress:
        now = [0.0]
        progress.bar.get_time = lambda: now[0]
        for _ in range(3):
            now[0] += 100.0
            progress.update(1.0, {}, 100.0)
        assert progress.bar.tasks[0].time_remaining == pytest.approx(100)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (62, "1:02"), (59.6, "1:00"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert clock(seconds) == text
