"""The refusal of a model file by what is in it."""

from __future__ import annotations

from studio_worker.errors import ModelUnavailable


class BadModelFile(ModelUnavailable):
    """A file that no engine should open; no other try makes it better.

    Args:
        rule: the rule's short name (``pickle``).
        message: the sentence for people.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} (rule: {rule})", retryable=False)
        self.rule = rule
