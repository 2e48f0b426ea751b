"""What the page of symptoms quotes is what the program says."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from studio_worker import errors

LEAST = 12
"""Shorter pieces prove nothing."""


@cache
def said(root) -> str:
    """Every constant text of the package and its plugins, also between what is filled in."""
    texts = []
    for path in [*root.glob("studio_worker/**/*.py"), *root.glob("plugins/*/src/**/*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str]
    return "\n".join(texts)


def quoted(root) -> list[str]:
    page = (root / "docs" / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \|$", page, re.MULTILINE)
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row) if " " in quote and "…" in quote]


def unsaid(quote: str, root) -> list[str]:
    pieces = [piece.strip(" .:;,()'") for piece in quote.split("…")]
    return [piece for piece in pieces if len(piece) >= LEAST and piece not in said(root)]


def test_every_quoted_sentence_is_one_that_the_program_says(root):
    assert len(quoted(root)) > 20
    assert [(quote, unsaid(quote, root)) for quote in quoted(root) if unsaid(quote, root)] == []


def test_a_sentence_that_nobody_says_would_be_found(root):
    assert unsaid("the moon is made of … and of cheese", root)


def test_every_exit_status_of_an_error_is_on_the_page(root):
    page = (root / "docs" / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.StudioWorkerError):
            assert f"| {error.exit_code} | " in page


@pytest.mark.parametrize("name", ["engine.quarantine", "local_api.port_taken", "studio.proxy", "config.unknown_key"])
def test_every_event_of_the_page_is_one_that_is_logged(root, name):
    assert name in said(root)
