"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from .fences import Fence, fences

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

    @property
    def fences(self) -> list[Fence]:
        """Its fenced blocks, in order."""
        return fences(self.text)

    def blocks(self, language: str) -> list[str]:
        """The text of the fenced blocks of a language, in order."""
        return [fence.text for fence in self.fences if fence.language == language]

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", [Page(path) for path in PAGES], ids=str)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
