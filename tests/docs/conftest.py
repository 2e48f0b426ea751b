"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    if page.name != "CHANGELOG.md"
)


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language, in order, without their indent."""
        found = re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", self.text, re.MULTILINE | re.DOTALL)
        return [re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE) for match in found]

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", [Page(path) for path in PAGES], ids=str)


@pytest.fixture
def tutorial() -> Page:
    """The first page that a newcomer follows."""
    return Page(ROOT / "docs" / "tutorial" / "first-worker.md")


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
