"""Links between pages lead to a file that is there, and to a heading that is in it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|<a [^>]*href=\"([^\"]+)\"")
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return frozenset(slugify(title, "-") for title in plain)


def broken(path: Path) -> list[str]:
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    found = []
    for link in (one or other for one, other in LINK.findall(text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = path if not target else (path.parent / target).resolve()
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            found.append(link)
    return found


def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    assert not broken(page.path)


def test_the_changelog_too(root):
    assert not broken(root / "CHANGELOG.md")


def test_a_page_of_the_site_links_to_nothing_outside_of_it(page, root):
    docs = root / "docs"
    if docs not in page.path.parents:
        return
    for one, other in LINK.findall(CODE.sub("", page.text)):
        link = (one or other).partition("#")[0]
        if link and not re.match(r"[a-z]+:", link):
            assert (page.path.parent / link).resolve().is_relative_to(docs), f"{link} is not on the site"


@pytest.mark.parametrize("link", ["gone.md", "here.md#gone", "#gone"])
def test_a_broken_link_would_be_found(tmp_path, link):
    (tmp_path / "here.md").write_text("# Here\n")
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n[a](here.md#here), [b](#a-page), [c]({link})\n")
    assert broken(page) == [link]
