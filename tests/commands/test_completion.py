"""`splitmix --completion`: what real shells complete with its scripts."""

import shutil
import subprocess

import pytest

from splitmix.commands import VERBS, main


def script(capsys, shell):
    assert main(["--completion", shell]) == 0
    return capsys.readouterr().out


def bash(code, *words):
    """What bash would offer for the last of these words, as it splits them."""
    line = f'{code}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _splitmix; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", line, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_keys_and_options(capsys):
    code = script(capsys, "bash")
    assert bash(code, "splitmix", "") == list(VERBS)
    assert bash(code, "splitmix", "deploy-i") == ["deploy-init"]
    assert bash(code, "splitmix", "train", "data") == ["dataset="] + [
        word for word in bash(code, "splitmix", "train", "dataset.") if word.startswith("dataset.")
    ]
    assert "algorithm.atom_width=" in bash(code, "splitmix", "train", "algorithm.a")
    assert bash(code, "splitmix", "train", "model", "=", "di") == ["digit_cnn"]
    assert "digit_cnn" in bash(code, "splitmix", "train", "model", "=")
    assert bash(code, "splitmix", "test", "test.wi") == ["test.widths="]
    assert bash(code, "splitmix", "train", "seed", "=", "") == []  # then bash offers files


def test_where_a_word_does_not_end_at_an_equals_sign(capsys):
    # As zsh hands words to it.
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    code = script(capsys, "bash")
    assert bash(code, "splitmix", "train", "model=di") == ["model=digit_cnn"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script(capsys):
    code = script(capsys, "zsh")
    done = subprocess.run(["zsh", "-f", "-c", code + "\nprint $_comps[splitmix]"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "_splitmix" in done.stdout


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes_verbs_and_options(capsys):
    code = script(capsys, "fish")

    def offered(line):
        done = subprocess.run(["fish", "-N", "-c", f"{code}\ncomplete -C '{line}'"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == ""
        return done.stdout.split()

    assert offered("splitmix deploy-i") == ["deploy-init"]
    assert offered("splitmix train model=di") == ["model=digit_cnn"]
    assert "test.widths=" in offered("splitmix test test.w")


@pytest.mark.parametrize("words", [[], ["csh"], ["bash", "zsh"]])
def test_another_shell_is_refused(capsys, words):
    assert main(["--completion", *words]) == 2
    assert "give bash, zsh or fish" in capsys.readouterr().err
