"""Paths with any character survive Hydra's grammar and the shell."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitmix.quoting import command, hydra_value, hydra_word, read, unquoted, with_quoted_path


def test_a_command_says_plain_paths_plainly():
    assert command("train", resume="outputs/x/2026-01-01") == "splitmix train resume=outputs/x/2026-01-01"
    assert command("test", "attack=[none,fgsm]", run="a b") == "splitmix test 'run=a b' 'attack=[none,fgsm]'"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="$"), min_size=1))
def test_any_path_is_read_back_from_a_printed_command(path):
    word = shlex.split(command("train", resume=path))[2]
    key, _, text = word.partition("=")
    assert key == "resume" and unquoted(text) == path and read(word) == path


@pytest.mark.parametrize("name", ["a=b", "a (1)", "été", "a#b", "a'b", "x,y=1"])
def test_a_path_that_is_there_may_be_typed_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert with_quoted_path(f"run={name}") == f"run={name}"
    (tmp_path / name).mkdir()
    assert with_quoted_path(f"run={name}") == hydra_word("run", name) and read(hydra_word("run", name)) == name


def test_other_words_stay():
    for word in ("-m", "seed=1,2", "run=.", "--config-dir=/tmp", "=x", "attack=[none,fgsm]"):
        assert with_quoted_path(word) == word


def test_words_of_hydras_grammar():
    assert [hydra_value(value) for value in (None, True, 0.5, [1, "a b"], "it's", {"a": 1})] == [
        "null", "true", "0.5", "[1,'a b']", r"'it\'s'", "{a:1}",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a\\b", "a\\", "a\\'b", "it's", "x,y", "[1]", "1e3", "", " a", "a:b"])
def test_text_of_a_config_is_read_back_alone_and_within_lists(text):
    assert read(f"x={hydra_value(text)}") == text and read(f"x=[{hydra_value(text)},1]") == [text, 1]
