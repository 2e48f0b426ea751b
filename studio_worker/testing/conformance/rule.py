"""What a rule is: an id, a title, and a check that ends in silence, in a failure's sentence, or in a reason to skip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studio_worker.testing.conformance.trial import Trial


class BrokenRule(AssertionError):
    """The engine breaks the rule: one sentence that says what it did, and the remedy."""


class NotApplicable(Exception):
    """The rule says nothing about this engine; the sentence says why."""


class NotTried(NotApplicable):
    """The rule cannot be tried here; the sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the kit.

    Attributes:
        id: its name, in kebab-case; certificates and reports know it by this.
        title: what a good engine does, a few words.
        check: tries it; returns what was found, in a sentence, and raises `BrokenRule` or `NotApplicable`.
    """

    id: str
    title: str
    check: Callable[[Trial], Awaitable[str]]
