from __future__ import annotations

import re
import subprocess
import sys

import studio_worker


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
    page = (root / "docs" / "reference" / "api.md").read_text()
    modules = re.findall(r"^::: (studio_worker\.\S+)$", page, re.MULTILINE)
    whole = {module for module in modules if module.rpartition(".")[2].islower()}
    for name in set(studio_worker.__all__) - {"API_VERSION", "Result", "WorkerEvent", "__version__", "hookimpl"}:
        home = getattr(studio_worker, name).__module__
        assert f"studio_worker.{name}" in modules or home in whole, f"{name} is not in docs/reference/api.md"


def test_every_page_is_in_the_sites_navigation(root):
    navigation = (root / "zensical.toml").read_text()
    for page in (root / "docs").glob("**/*.md"):
        assert f'"{page.relative_to(root / "docs").as_posix()}"' in navigation


def test_every_link_between_files_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.text):
        assert (page.path.parent / target).exists(), f"{page} links to {target}"


def test_the_page_of_faults_has_every_row_as_the_catalogue_has_it(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "faults.py", "--check"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
