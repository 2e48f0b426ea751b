"""What of the plugin API is on its way out, and which engine still uses it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from studio_worker.engines.base import Engine


@dataclass(frozen=True, slots=True)
class Deprecation:
    """An attribute or method of an engine that a later plugin API will not know.

    Attributes:
        name: what an engine must not set or implement any more.
        instead: what it should do, as the end of a sentence that begins with "use".
        since: the release that first said so.
        until: the plugin API that no longer has it.
    """

    name: str
    instead: str
    since: str
    until: int

    def __str__(self) -> str:
        return f"{self.name} is deprecated since {self.since} and gone with plugin API {self.until}: use {self.instead}"


DEPRECATED: tuple[Deprecation, ...] = ()
"""All there are; an entry stays until the plugin API that it names."""


def used_by(engine: Engine) -> list[str]:
    """A sentence for each of them that the engine, or a class of its own, still has."""
    own = {*vars(engine)}.union(*(vars(base) for base in type(engine).__mro__ if base not in Engine.__mro__))
    return [str(each) for each in DEPRECATED if each.name in own]
