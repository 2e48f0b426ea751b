"""The list of rules: named once, in words, and the same as the page shows."""

from __future__ import annotations

import re
from pathlib import Path

from studio_worker.engines.certificates import ESSENTIAL
from studio_worker.testing import RULES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-an-engine.md"


def test_rules_have_names_of_their_own_in_kebab_case() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id) for rule in RULES)


def test_a_title_finishes_the_sentence_of_a_good_engine() -> None:
    assert all(rule.title[0].islower() and not rule.title.endswith(".") for rule in RULES)


def test_the_rule_that_shows_anything_is_one_of_them() -> None:
    assert ESSENTIAL in {rule.id for rule in RULES}


def test_the_page_has_every_rule_in_order() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", text, re.MULTILINE) == [(rule.id, rule.title) for rule in RULES]
    assert f"{len(RULES)} rules" in text
