from __future__ import annotations

import re
import subprocess
import sys

import pytest

import studio_worker
from studio_worker import testing
from studio_worker.testing import chaos


def test_the_generated_reference_follows_the_code(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "reference.py", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_in_the_python_reference(root):
    page = "".join((root / "docs" / "reference" / name).read_text() for name in ("api.md", "hooks.md"))
    modules = re.findall(r"^::: (studio_worker\.\S+)$", page, re.MULTILINE)
    whole = {module for module in modules if module.rpartition(".")[2].islower()}
    for name in set(studio_worker.__all__) - {"WorkerEvent", "__version__", "hookimpl"}:
        home = getattr(getattr(studio_worker, name), "__module__", "")
        assert f"studio_worker.{name}" in modules or home in whole, f"{name} is in neither page"


@pytest.mark.parametrize("package", [testing, chaos], ids=lambda package: package.__name__)
def test_every_name_of_the_testing_kit_is_in_the_python_reference(root, package):
    page = (root / "docs" / "reference" / "api.md").read_text()
    told = set(re.findall(rf"^::: {re.escape(package.__name__)}\.(\w+)$", page, re.MULTILINE))
    assert set(package.__all__) - told == set()


def test_every_page_is_in_the_sites_navigation(root):
    navigation = (root / "zensical.toml").read_text()
    for page in (root / "docs").glob("**/*.md"):
        assert f'"{page.relative_to(root / "docs").as_posix()}"' in navigation


def test_the_page_of_faults_has_every_row_as_the_catalogue_has_it(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "faults.py", "--check"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_the_reference_shows_an_example(root):
    page = (root / "docs" / "reference" / "cli.md").read_text()
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        assert "\nExample: `studio-worker " in section, section.splitlines()[0]


def test_every_page_of_the_navigation_is_there(root):
    pages = re.findall(r'= "([\w/-]+\.md)"', (root / "zensical.toml").read_text())
    assert [page for page in pages if not (root / "docs" / page).is_file()] == []
    assert len(pages) == len(set(pages))
