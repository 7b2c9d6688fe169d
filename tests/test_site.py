"""The site: pages made from conf/, dataclasses and the schema miss nothing; the menu has every page."""

import re
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from splitmix.commands import VERBS
from splitmix.commands.help import documented, groups
from splitmix.config import conf_dir
from splitmix.homes import HOMES
from splitmix.runs import results_file

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages():
    """The module that makes pages."""
    sys.path.insert(0, str(DOCS / "_site"))
    try:
        import pages

        yield pages
    finally:
        sys.path.remove(str(DOCS / "_site"))
        sys.modules.pop("pages", None)


def test_every_verb_and_key_is_there(pages):
    sections = dict(re.findall(r"^## `splitmix ([\w-]+)`.*?$(.*?)(?=^## |\Z)", pages.verbs_page(), re.M | re.S))
    assert list(sections) == list(VERBS)
    for verb, text in sections.items():
        for key, _ in documented(conf_dir() / f"{verb}.yaml"):
            assert f"| `{key}` |" in text
    assert "| `rounds` | `25` | number of rounds" in sections["train"]
    assert "[`algorithm`](groups.md#algorithm)" in sections["train"]


@pytest.mark.slow
def test_every_group_option_and_key_is_there(pages):
    sections = dict(re.findall(r"^## `(\w+)`.*?$(.*?)(?=^## |\Z)", pages.groups_page(), re.M | re.S))
    assert list(sections) == list(groups())
    for group, files in groups().items():
        for file in files if group != "experiment" else ():
            assert f"| `{file.stem}` |" in sections[group]
            for key, _ in documented(file) if group != "debug" else ():
                assert f"| `{key}` |" in sections[group]
    # Types come from the dataclasses, values and words from the files.
    assert (
        "| `atom_width` | number | `0.125` | width of one base model, above 0 and up to 1 | `splitmix` |"
        in (sections["algorithm"])
    )
    assert "| `lambdas` | list of numbers |" in sections["algorithm"]
    assert "| `clip_norm` | number or null | `null` |" in sections["optimizer"]


def test_every_field_of_results_is_there(pages):
    text = pages.results_page()
    for field in msgspec.structs.fields(results_file.Results):
        assert f"| `{field.encode_name}` |" in text
    assert "| `tests` | list of [TestRecord](#testrecord) | always there |" in text
    assert "| `sa_fixed` | number or null | `null` where it is missing |" in text


def test_every_name_of_the_front_door_is_in_the_python_reference(pages):
    named = re.findall(r"^::: splitmix\.([\w.]+)\.(\w+)$", pages.python_page(), re.M)
    assert {name: home for home, name in named} == HOMES


def test_every_experiment_has_its_command(pages):
    text = pages.experiments_page()
    for file in groups()["experiment"]:
        assert f"## {file.stem}\n" in text and f"splitmix train experiment={file.stem}" in text


def test_files_of_the_root_link_within_the_site(pages):
    text = pages.root_page("CONTRIBUTING.md")
    assert "](architecture.md)" in text and "](changelog.md)" in text and "](docs/" not in text


def test_bars_in_code_of_tables_are_bars(pages):
    html = "<td><code>seed=1\\|2</code></td><p>a\\|b</p>"
    assert pages.on_page_content(html, page=None) == "<td><code>seed=1|2</code></td><p>a\\|b</p>"


@pytest.mark.slow
def test_the_menu_has_every_page_once(pages):
    def leaves(node):
        if isinstance(node, str):
            return [node]
        return [leaf for part in (node.values() if isinstance(node, dict) else node) for leaf in leaves(part)]

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    menu = leaves(config["nav"])
    assert len(menu) == len(set(menu)) and set(menu) == written | set(pages.made())
    assert config["strict"] is True and config["theme"]["font"] is False
