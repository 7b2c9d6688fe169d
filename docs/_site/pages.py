"""Pages of the site that are made when it is built: from conf/, the dataclasses, the schema, and files of the root."""

from __future__ import annotations

import dataclasses
import importlib
import re
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from notebooks import notebook_pages
from omegaconf import OmegaConf

import splitmix
from splitmix.commands import VERBS
from splitmix.commands.composing import defaults_of
from splitmix.commands.experiments import jobs
from splitmix.commands.help import documented, explained, groups, header
from splitmix.config import conf_dir
from splitmix.homes import HOMES
from splitmix.runs import results_file

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "benchmarks.md": "BENCHMARKS.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
"""Pages that are files of the repository's root."""
API = {
    "The federation": "federation",
    "Data": "data",
    "Algorithms": "algorithms",
    "Models": "models",
    "The engine": "engine",
    "Attacks": "robustness",
    "Privacy": "privacy",
    "Evaluation": "evaluation",
    "Runs": "runs",
    "Bundles": "bundle",
    "Figures": "reporting",
    "Errors": "errors",
}
"""Headings of the Python reference, and the room whose names of the front door stand there."""


def on_files(files: Any, config: Any) -> Any:
    """MkDocs' hook: the site with the pages of `made`."""
    from mkdocs.structure.files import File

    for path, text in made().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """MkDocs' hook: `a\\|b` in a table's code is a|b, as on GitHub; Python-Markdown keeps the backslash."""
    return re.sub(r"<code>[^<]*</code>", lambda match: match[0].replace("\\|", "|"), html)


def made() -> dict[str, str]:
    """Every page that is made, by its path in the site."""
    pages = {
        "reference/verbs.md": verbs_page(),
        "reference/groups.md": groups_page(),
        "reference/results.md": results_page(),
        "reference/python.md": python_page(),
        "reference/experiments.md": experiments_page(),
    }
    return pages | notebook_pages() | {page: root_page(name) for page, name in ROOT_PAGES.items()}


def root_page(name: str) -> str:
    """A file of the root, its links turned to the site's own."""
    text = (ROOT / name).read_text().replace("](docs/", "](")
    for page, file in ROOT_PAGES.items():
        text = text.replace(f"]({file})", f"]({page})")
    return text


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def plain(text: str) -> str:
    """Text whose `<name>`, `*` and `_` are no markup."""
    return re.sub(r"([*_])", r"\\\1", text.replace("<", "&lt;"))


def code(value: object) -> str:
    """A value as YAML has it, in a code span."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "`''`"


def verbs_page() -> str:
    """Every verb with its keys."""
    parts = [
        "# Verbs and their keys\n\nMade from `conf/<verb>.yaml` when the site is built. `splitmix <verb> --help` prints"
        " the same; the groups of a verb stand [on their own page](groups.md).\n"
    ]
    for verb, what in VERBS.items():
        file = conf_dir() / f"{verb}.yaml"
        values = OmegaConf.to_container(OmegaConf.load(file))
        assert isinstance(values, dict)
        parts.append(f"## `splitmix {verb}` {{#{verb}}}\n\n{what[0].upper()}{what[1:]}.\n")
        rows = [[f"`{key}`", code(shown(values, key)), plain(text)] for key, text in documented(file)]
        if rows:
            parts.append(table(["key", "default", "meaning"], rows))
        if used := defaults_of(verb):
            links = ", ".join(f"[`{name}`](groups.md#{name})" for name in used)
            parts.append(f"Groups: {links}.\n")
    return "\n".join(parts)


def shown(values: dict[Any, Any], key: str) -> object:
    """A key's value; empty for one that Hydra's own node has or that must be given."""
    value = values.get(key, "")
    return "must be given" if value == "???" else value


def groups_page() -> str:
    """Every group with its options and the keys of each."""
    parts = [
        "# Groups, options and keys\n\nMade from `conf/<group>/<option>.yaml` and the dataclasses that the options"
        " name, when the site is built. Choose an option by `group=option`, set a key by `group.key=value`"
        " (of `attack` by `attack.<option>.<key>=value`).\n"
    ]
    for group, files in groups().items():
        parts.append(f"## `{group}` {{#{group}}}\n")
        if group == "experiment":
            parts.append("Ready-made grids: [every experiment](experiments.md).\n")
            continue
        parts.append(table(["option", "what it is"], [[f"`{file.stem}`", plain(header(file))] for file in files]))
        rows: dict[tuple[str, ...], list[str]] = {}
        for file in files:
            types_of, defaults = field_types(file), option_node(file)
            for key, text in explained(file, files):
                row = (f"`{key}`", types_of.get(key, ""), code(defaults.get(key)), plain(text))
                rows.setdefault(row, []).append(f"`{file.stem}`")
        if rows:
            lines = [[*row, ", ".join(options)] for row, options in rows.items()]
            parts.append(table(["key", "type", "default", "meaning", "of"], lines))
    return "\n".join(parts)


def option_node(file: Path) -> dict[str, Any]:
    """The settings of an option."""
    return typing.cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(file)))


def field_types(file: Path) -> dict[str, str]:
    """Types of an option's keys, from its dataclass."""
    target = option_node(file).get("_target_")
    if not target:
        return {}
    module, _, name = str(target).rpartition(".")
    component = getattr(importlib.import_module(module), name)
    return {field.name: in_words(field.type) for field in dataclasses.fields(component)}


def in_words(annotation: Any) -> str:
    """A type as a reader of YAML thinks of it."""
    if not isinstance(annotation, str):
        annotation = getattr(annotation, "__name__", str(annotation))
    text = re.sub(r"\btuple\[(\w+), \.\.\.\]", r"list of \1s", annotation)
    words = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "None": "null"}
    words |= {f"{name}s": f"{words[name]}s" for name in ("int", "float", "str")}
    return " or ".join(re.sub(r"\w+", lambda word: words.get(word[0], word[0]), part) for part in text.split(" | "))


def results_page() -> str:
    """The schema of results.json."""
    parts = [
        "# results.json\n\nMade from the schema that every reader checks (`splitmix/runs/results_file.py`), when the"
        " site is built. Accuracies and shares lie in [0, 1]; bytes are one client's training payload per round, in"
        " float32. Keys that do not stand here are kept and ignored.\n"
    ]
    structs = [results_file.Results, results_file.WidthRecord, results_file.ClientRecord, results_file.TestRecord]
    structs += [results_file.MetricRecord, results_file.MatrixRecord]
    for struct in structs:
        parts.append(f"## {struct.__name__} {{#{struct.__name__.lower()}}}\n\n{clean(struct.__doc__)}\n")
        hints = typing.get_type_hints(struct)
        rows = []
        if struct is results_file.Results:
            rows.append(["`schema`", "whole number", f"always {results_file.SCHEMA}"])
        for field in msgspec.structs.fields(struct):
            must = "always there" if field.required else f"{code(default_of(field))} where it is missing"
            rows.append([f"`{field.encode_name}`", json_type(hints[field.name]), must])
        parts.append(table(["field", "type", "presence"], rows))
    return "\n".join(parts)


def default_of(field: Any) -> object:
    """What a field is where the file lacks it."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def json_type(hint: Any) -> str:
    """A type of the schema in words, its own records as links."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(json_type(part) for part in inner)
    if origin is list:
        return f"list of {json_type(inner[0])}"
    if origin is dict:
        return f"mapping to {json_type(inner[1])}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return "null" if hint is type(None) else "anything" if hint is Any else in_words(hint)


def clean(docstring: str | None) -> str:
    """A docstring's text."""
    return re.sub(r"\n +", "\n", docstring or "").strip()


def python_page() -> str:
    """The Python reference: every name of the front door, from its docstring."""
    parts = [
        "# Python\n\nEvery name below is imported from the top: `from splitmix import Federation`. Made from the"
        " docstrings when the site is built.\n"
    ]
    for heading, room in API.items():
        names = [name for name in splitmix.__all__ if HOMES[name].split(".")[0] == room]
        names.sort(key=lambda name: name != "Federation")  # the door behind the door
        parts.append(f"## {heading}\n")
        parts += [f"::: splitmix.{HOMES[name]}.{name}\n" for name in names]
    return "\n".join(parts)


def experiments_page() -> str:
    """Every experiment with its command, number of runs and header."""
    parts = [
        "# Every experiment\n\nMade from the headers in `conf/experiment/` when the site is built."
        " [How to run and report them](../experiments.md).\n"
    ]
    for file in groups()["experiment"]:
        first, *others = [
            line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and "@package" not in line
        ]
        commands = [line for line in others if line.startswith(("Run: ", "Then: "))]
        number = jobs(file)
        parts.append(f"## {file.stem}\n\n{plain(first)} {number} run{'s' * (number != 1)}.\n")
        parts.append("```bash\n" + "\n".join(line.partition(": ")[2] for line in commands) + "\n```\n")
        parts.append(" ".join(plain(line) for line in others if line not in commands) + "\n")
    return "\n".join(parts)
