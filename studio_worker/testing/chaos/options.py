"""The options of faults, checked where they are given: a slip of the pen is not to become another fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from studio_worker.engines.base import Engine


def check_engine(engine: object) -> None:
    """Refuse what cannot be spoiled.

    Raises:
        TypeError: it is neither an engine nor None.
    """
    if engine is None or isinstance(engine, Engine):
        return
    if isinstance(engine, type) and issubclass(engine, Engine):
        raise TypeError(f"engine={engine.__name__}: this is the class, an engine is needed: {engine.__name__}()")
    if isinstance(engine, str) and ":" in engine:
        raise TypeError(f"engine={engine!r}: an Engine or None is needed; chaos.in_process takes a factory by its name")
    raise TypeError(
        f"engine={engine!r:.100}: an Engine or None is needed in the first place; the options come after it, by name"
    )


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that there is not.

    Raises:
        TypeError: with those that there are.
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(names)}")


def check_word(option: str, value: object, words: Any) -> None:
    """Refuse what is none of the words of a Literal.

    Raises:
        ValueError: with the words.
    """
    if value not in get_args(words):
        raise ValueError(f"{option}={value!r:.100}: one of {', '.join(map(repr, get_args(words)))} is needed")


def check_whole(option: str, value: object, *, least: int | None = None) -> None:
    """Refuse what is no whole number.

    Args:
        option: its name.
        value: what was given.
        least: the smallest that is allowed; None: any.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is too small.
    """
    bound = "" if least is None else f" from {least}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option}={value!r:.100}: a whole number{bound} is needed")
    if least is not None and value < least:
        raise ValueError(f"{option}={value}: a whole number{bound} is needed")


def check_number(option: str, value: object, *, most: float = float("inf")) -> None:
    """Refuse what is no number from 0 to `most`.

    Raises:
        TypeError: it is no number.
        ValueError: it is out of its range.
    """
    bound = "from 0" if most == float("inf") else f"from 0 to {most:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{option}={value!r:.100}: a number {bound} is needed")
    if not 0 <= value <= most:
        raise ValueError(f"{option}={value}: a number {bound} is needed")
