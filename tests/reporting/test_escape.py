"""Words of a run for HTML, Markdown, LaTeX and file names."""

import shutil
import subprocess

import pytest

from splitmix.reporting.escape import html, latex, markdown, one_line, stem

SPECIAL = "".join(map(chr, range(32, 127))) + "λ±×\u2212\u2013…†≤∞éß中\U0001f600µ"


def test_control_characters_and_broken_ones_go():
    assert one_line("a\nb\tc\x1b[31m\x00\ud800\u202e\u2028d") == "a b c\ufffd[31m\ufffd\ufffd\ufffd d"


def test_html():
    assert html("<a href='x\"'>&\n") == "&lt;a href=&#x27;x&quot;&#x27;&gt;&amp; "


def test_markdown_leaves_underscores_in_words_alone():
    assert markdown("linf_pgd _x_ a|b <i> *b* [c] `d` $e$ \\") == (
        r"linf_pgd \_x\_ a\|b \<i\> \*b\* \[c\] \`d\` \$e\$ \\"[:-1] + "\\"
    )


def test_latex_writes_out_what_it_cannot_set():
    assert latex(r"50% a_b {x} #1 ~^\\ &$") == (
        r"50\% a\_b \{x\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}\textbackslash{} \&\$"
    )
    assert latex("é中µ") == "éU+4E2DU+00B5" and latex("[x]*") == "{[}x]{*}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path):
    rows = "\n".join(f"{latex(word)} \\\\" for word in (SPECIAL, *SPECIAL))
    text = rf"\documentclass{{article}}\begin{{document}}\begin{{tabular}}{{l}}{rows}\end{{tabular}}\end{{document}}"
    (tmp_path / "a.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", ".", "x" * 999, "\x00\ud800"])
def test_a_stem_is_a_plain_file_name(name, tmp_path):
    path = tmp_path / f"{stem(name)}.csv"
    path.write_text("")
    assert path.parent == tmp_path and len(list(tmp_path.iterdir())) == 1 and "." not in stem(name)
