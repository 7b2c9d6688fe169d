"""The house rules: imports point one way, first lines say a file's job, nothing asks for an algorithm's name."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "splitmix"
# A folder may import from itself and from those to its right.
ORDER = [
    "commands", "deploy", "explore", "bundle", "reporting", "runs", "leakage", "benchmarks", "federation", "engine",
    "evaluation", "privacy", "algorithms", "robustness", "models", "data", "runtime",
]  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def test_imports_point_one_way():
    wrong = []
    for path in FILES:
        folder = path.relative_to(PACKAGE).parts[0]
        imported = re.findall(r"^\s*(?:from|import) splitmix\.(\w+)", path.read_text(), re.MULTILINE)
        for target in imported if folder in ORDER else ():
            if target in ORDER and ORDER.index(target) < ORDER.index(folder):
                wrong.append(f"{path.relative_to(PACKAGE)} imports splitmix.{target}")
    assert not wrong


def test_every_file_says_its_job_and_stays_small():
    silent = [path for path in FILES if path.read_text() and not ast.get_docstring(tree_of(path))]
    large = [path for path in FILES if len(path.read_text().splitlines()) > 260]
    assert not silent and not large


def test_the_map_of_the_house_names_every_room_in_order_and_files_that_exist():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \|.*\| (.+) \|$", text, re.MULTILINE)
    assert [room for room, _ in rows] == ORDER
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(ORDER)
    for room, files in rows:
        for file in re.findall(r"`([\w./]+)`", files):
            assert (PACKAGE / room / file).exists(), f"{room}/{file}"


ALGORITHMS = {path.stem for path in (PACKAGE.parent / "conf" / "algorithm").glob("*.yaml")}
PACKAGE_NAME = "splitmix"
"""An algorithm too, but first of all the package, which logs and commands may name."""


def choices_by_name(source: str) -> set[int]:
    """Lines where code asks which algorithm it has: a name that decides something, or a comparison of `….name`."""
    tree, lines = ast.parse(source), set()
    annotated = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    declared = {id(node.value) for node in annotated if ast.unparse(node.target) == "name"}
    for node in ast.walk(tree):
        deciding: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            deciding = [node]
        elif isinstance(node, ast.Match):
            deciding = [node.subject, *(case.pattern for case in node.cases)]
        elif isinstance(node, ast.Subscript):
            deciding = [node.slice] + ([node.value] if isinstance(node.value, ast.Dict) else [])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # table.get(name), name.startswith("fed")
            lookup = node.func.attr in ("get", "pop", "setdefault")
            text = node.func.attr in ("startswith", "endswith", "find", "count")
            deciding = node.args[:1] if lookup else [node.func.value] if text else []
        elif isinstance(node, ast.Constant) and node.value in ALGORITHMS - {PACKAGE_NAME} and id(node) not in declared:
            lines.add(node.lineno)
        for part in (inner for root in deciding for inner in ast.walk(root)):
            names = isinstance(part, ast.Constant) and part.value in ALGORITHMS
            asked = isinstance(part, ast.Attribute) and part.attr in ("name", "label")
            if names or (asked and ast.unparse(part.value).rpartition(".")[2] in ("algorithm", "method")):
                lines.add(node.lineno)
    return lines


def test_no_code_asks_for_the_name_of_an_algorithm():
    # The workloads of a benchmark are called after algorithms.
    files = [path for path in FILES if path.parent != PACKAGE / "benchmarks"]
    assert not {str(path): lines for path in files if (lines := choices_by_name(path.read_text()))}


@pytest.mark.parametrize(
    "code",
    [
        "slow = name == 'heterofl'",
        "slow = 'splitmix' != name",
        "slow = name in ('fedrolex', 'x')",
        "SLOW = {'fjord', 'x'}",
        "match name:\n    case 'sheterofl': pass",
        "match name:\n    case 'a' | 'splitmix': pass",
        "match method.name:\n    case _: pass",
        "TABLE = {'scaffold': 1}",
        "cost = {'splitmix': 1}[name]",
        "cost = table['splitmix']",
        "cost = table[config.algorithm.name]",
        "cost = table.get(method.name)",
        "cost = table.get('splitmix', 0)",
        "slow = config.algorithm.name == other",
        "slow = self.method.name in SLOW",
        "slow = algorithm.label.startswith('Fed')",
    ],
)
def test_the_rule_sees_every_way_to_ask(code):
    assert choices_by_name(code)


@pytest.mark.parametrize(
    "code",
    ["name: ClassVar[str] = 'fedavg'", "log = getLogger('splitmix')", "x = folder.name == 'hydra'", "f(method.name)"],
)
def test_the_rule_lets_names_be_declared_and_told(code):
    assert not choices_by_name(code)
