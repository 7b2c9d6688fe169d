"""The house rules: imports point one way, first lines say a file's job, nothing compares an algorithm's name."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "splitmix"
# A folder may import from itself and from those to its right.
ORDER = [
    "commands", "bundle", "reporting", "runs", "benchmarks", "federation", "engine", "evaluation", "algorithms",
    "robustness", "models", "data", "runtime",
]  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_one_way(path):
    folder = path.relative_to(PACKAGE).parts[0]
    if folder not in ORDER:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("splitmix."):
            target = node.module.split(".")[1]
            if target in ORDER:
                assert ORDER.index(target) >= ORDER.index(folder), f"{path.name} imports {node.module}"


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_every_file_says_its_job_and_stays_small(path):
    text = path.read_text()
    assert not text or ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 260


def test_no_code_compares_the_name_of_an_algorithm():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                words = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                assert not {"splitmix", "fedavg", "heterofl", "sheterofl", "fedrolex", "fjord"} & set(words), path
