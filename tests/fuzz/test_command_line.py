"""Random command lines: whatever is typed, a verb ends with 0 or with 2 and one line; SPLITMIX_FUZZ_EXAMPLES says how
many (8 in the suite; thousands before a release).
"""

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from splitmix.commands import main
from splitmix.commands import train as train_verb
from splitmix.commands.composing import defaults_of
from splitmix.commands.help import documented, groups
from splitmix.config import conf_dir
from splitmix.runs import testing

EXAMPLES = int(os.environ.get("SPLITMIX_FUZZ_EXAMPLES", "8"))
VERBS = ("train", "test", "show", "list", "report", "data-list")


def names(verb):
    """Keys and groups of a verb, those of its groups' options too."""
    keys = [key for key, _ in documented(conf_dir() / f"{verb}.yaml")]
    for group in defaults_of(verb):
        if group != "experiment":
            keys += [group, *(f"{group}.{key}" for file in groups()[group] for key, _ in documented(file))]
    return keys or ["what"]


OPTIONS = sorted({file.stem for files in groups().values() for file in files} - {"preresnet18"})
NUMBERS = st.one_of(
    st.integers(-(10**25), 10**25), st.integers(-2, 9), st.floats(allow_nan=True, allow_infinity=True)
).map(str)
WORDS = st.one_of(
    st.sampled_from(["null", "true", "false", "", "auto", "latest", "[]", "{}", "nowhere", "~", "\\", "'", '"', "*"]),
    st.sampled_from(
        ["${seed}", "${nothing}", "${seed", "${oc.env:HOME}", "${hydra:job.name}", "???", "a=b", "x" * 300]
    ),
    st.sampled_from(OPTIONS),
    st.text(max_size=8),
    NUMBERS,
)
VALUES = st.one_of(
    WORDS,
    st.lists(WORDS, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.lists(WORDS, min_size=2, max_size=3).map(",".join),
    WORDS.map(lambda word: f"{{a:{word}}}"),
    WORDS.map(lambda word: f"[[{word}]]"),
    st.sampled_from(["range(0)", "range(3)", "choice(1,2)", "interval(0,1)", "glob(*)", "sort(1,0)", "shuffle(a)"]),
)
FLAGS = st.sampled_from(["-m", "--cfg=job", "--resolve", "--help", "--info=defaults", "--foo", "-x", "--package=a"])


@st.composite
def command_lines(draw):
    verb = draw(st.sampled_from(VERBS))
    keys = st.one_of(st.sampled_from(names(verb)), st.sampled_from(["seed", "rouns", "dataset.x", "a.b.c", "é", ""]))
    words = []
    for _ in range(draw(st.integers(0, 3))):
        key, prefix = draw(keys), draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
        words.append(draw(st.sampled_from([f"{prefix}{key}=", f"{prefix}{key}"])) + draw(VALUES))
    words += draw(st.lists(FLAGS, max_size=1))
    return [verb, *draw(st.permutations(words))]


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory):
    """An empty folder to work in, and nothing that takes long: what a verb would then do is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        patch.setattr(train_verb, "train_in", lambda *args, **keywords: None)
        patch.setattr(testing, "run_test", lambda *args, **keywords: ([], []))
        patch.setattr(train_verb, "check", lambda resolved: train_verb.load_run_config(resolved))
        patch.setattr("splitmix.commands.sweep_runs.check", lambda resolved: train_verb.load_run_config(resolved))
        yield Path.cwd()


@pytest.mark.slow
@example(["train", "~seed"])
@example(["train", "-m", "seed=range(0)"])
@example(["test", "attack=[[none]]"])
@example(["list", "what=[all]"])
@example(["show", "run=" + "a" * 300])
@example(["train", "batch_size=" + "9" * 23])
@example(["train", "dataset=[]"])
@example(["train", "--resolve"])
@example(["report", "width=3"])
@example(["train", "seed=1", "--cfg", "job", "rounds=${seed}"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES <= 30)
@given(command_lines())
def test_any_command_line_ends_with_0_or_in_one_line(stubbed, words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    told = err.getvalue()
    assert code in (0, 2) and "Traceback" not in told, (words, told)
    if code == 2 and "-m" not in words:
        assert len(told.strip().splitlines()) == 1, (words, told)
