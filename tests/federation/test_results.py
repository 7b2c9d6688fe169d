"""What results.json records of the code that made it."""

import subprocess

import pytest

from splitmix.federation.results import git_commit


def git(folder, *words):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package at its top, as in a checkout of splitmix."""
    (tmp_path / "splitmix").mkdir()
    for name in ("pyproject.toml", "splitmix/__init__.py"):
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_commit_of_a_checkout(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout / "splitmix") == commit and len(commit) == 40
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))
    assert git_commit(checkout / "splitmix") == commit


def test_no_commit_of_a_repository_that_surrounds_an_installed_package(checkout):
    for place, tracked in (("venv/lib/site-packages", False), ("vendor", True)):
        package = checkout / place / "splitmix"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        if tracked:
            git(checkout, "add", ".")
            git(checkout, "commit", "-q", "-m", "vendored")
        assert git_commit(package) is None


def test_no_commit_where_the_package_is_not_tracked_or_there_is_no_repository(checkout, tmp_path_factory):
    git(checkout, "rm", "-q", "--cached", "splitmix/__init__.py")
    git(checkout, "commit", "-q", "-m", "without")
    assert git_commit(checkout / "splitmix") is None
    outside = tmp_path_factory.mktemp("outside") / "splitmix"
    outside.mkdir()
    assert git_commit(outside) is None
