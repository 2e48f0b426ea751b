"""Links between pages lead to a file that is there, and to a heading that is in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|<a [^>]*href=\"([^\"]+)\"")
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def slug(title: str) -> str:
    """The anchor of a heading, as Python-Markdown makes it, and GitHub for headings like ours."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return frozenset(slug(title) for title in plain)


def links(path: Path) -> Iterator[str]:
    """The links of a page that lead to a file of ours."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    for link in (one or other for one, other in LINK.findall(text)):
        if not re.match(r"[a-z]+:", link):
            yield link


def broken(path: Path) -> list[str]:
    found = []
    for link in links(path):
        target, _, anchor = link.partition("#")
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
    for link in links(page.path):
        assert (page.path.parent / link).resolve().is_relative_to(docs), f"{link} is not on the site"


def test_every_page_can_be_reached_from_the_first_one(root):
    docs = root / "docs"
    seen, ahead = set(), [docs / "index.md"]
    while ahead:
        page = ahead.pop()
        if page.suffix == ".md" and page not in seen:
            seen.add(page)
            ahead += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]
    assert set(docs.glob("**/*.md")) - seen == set()


@pytest.mark.parametrize("link", ["gone.md", "here.md#gone", "#gone"])
def test_a_broken_link_would_be_found(tmp_path, link):
    (tmp_path / "here.md").write_text("# Here\n")
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n[a](here.md#here), [b](#a-page), [c]({link})\n")
    assert broken(page) == [link]
