"""What a `jsonSchema` of an llm task may be: self-contained, finite, and harmless to whoever compiles it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from studio_worker.wire.patterns import check_pattern

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_WALK = 2 * MAX_DEPTH
MAX_PATTERNS = 1_000
MAX_PATTERN_CHARACTERS = 10_000
"""Of all patterns together, each counted once: each costs the event loop about 3 µs."""

MAX_REFERENCE_CHARACTERS = 50_000
"""Of all references together, each way to spell one counted once."""

MAX_INDEX_DIGITS = 6

_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
"""Keywords whose value maps names, which are free, to schemas."""
_NO_SCHEMA = frozenset({"const", "enum", "default", "examples"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def check_schema(schema: Any) -> None:
    """Raise ValueError, with the reason, for a schema that must not reach a grammar compiler.

    Refused: anything but an object or a boolean; nesting past 64 levels; more than 20,000 nodes, written or with
    every reference put in its place; a `$ref` that leaves the document, points nowhere or leads back to itself;
    a `pattern` that can be read in two ways inside a repetition (see `wire.patterns`); more than 1,000 different
    patterns, or 10,000 characters of them; more than 50,000 characters of references. Nothing is ever fetched.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError("must be a JSON Schema object")
    _check_size(schema)
    _Walk(schema).walk(schema)


def _check_size(schema: dict[str, Any]) -> None:
    todo: list[tuple[Any, int]] = [(schema, 0)]
    nodes = 1
    while todo:
        node, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, (dict, list)):
            nodes += len(node)
            if nodes > MAX_NODES:
                raise ValueError(f"has more than {MAX_NODES:,} nodes")
            todo += [(inner, depth + 1) for inner in (node.values() if isinstance(node, dict) else node)]


@dataclass(slots=True)
class _Target:
    """What a reference leads to, walked once however often and however spelled it is referred to.

    Attributes:
        nodes: its nodes with its references put in their places.
        levels: how deep they go.
        is_whole: whether its walk is over; before, a reference to it comes from itself.
    """

    nodes: int = 0
    levels: int = 0
    is_whole: bool = False


class _Walk:
    """One walk along every path that a compiler takes. It ends as soon as a bound is passed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self._depth = 0
        self._deepest = 0
        self._targets: dict[int, _Target] = {}
        self._spelled: dict[str, Any] = {}
        self._reference_characters = 0
        self._patterns: set[str] = set()
        self._pattern_characters = 0

    def walk(self, node: Any) -> None:
        """Count a schema's nodes and levels, follow its references and check its patterns."""
        if isinstance(node, list):
            for inner in _in_lists(node):
                self.walk(inner)
            return
        self._count(1)
        if not isinstance(node, dict):
            return
        self._depth += 1
        self._reach(self._depth)
        for key, inner in node.items():
            if key in _NO_SCHEMA or key in _DEFINITIONS:
                continue
            if key in _REFERENCES:
                self._follow(key, inner)
            elif key in _BY_NAME and isinstance(inner, dict):
                if key == "patternProperties":
                    for pattern in inner:
                        self._check_pattern(pattern)
                for schema in inner.values():
                    self.walk(schema)
            else:
                if key == "pattern" and isinstance(inner, str):
                    self._check_pattern(inner)
                self.walk(inner)
        self._depth -= 1

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise ValueError(f"has more than {MAX_NODES:,} nodes once its references are put in place")

    def _reach(self, depth: int) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > MAX_WALK:
            raise ValueError(f"is nested deeper than {MAX_WALK} levels once its references are put in place")

    def _follow(self, key: str, reference: Any) -> None:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ValueError(f"{key} {_shown(reference)} leaves the schema; only '#/...' is followed")
        node = self._target(reference)
        target = self._targets.get(id(node))
        if target is None:
            self._targets[id(node)] = target = _Target()
            begun, deepest, self._deepest = self._nodes, self._deepest, self._depth
            self.walk(node)
            target.nodes, target.levels, target.is_whole = self._nodes - begun, self._deepest - self._depth, True
            self._deepest = max(self._deepest, deepest)
        elif target.is_whole:
            self._count(target.nodes)
            self._reach(self._depth + target.levels)
        else:
            raise ValueError(f"{key} {_shown(reference)} leads back to itself; recursive schemas are not supported")

    def _target(self, reference: str) -> Any:
        if reference not in self._spelled:
            self._reference_characters += len(reference)
            if self._reference_characters > MAX_REFERENCE_CHARACTERS:
                raise ValueError(f"has more than {MAX_REFERENCE_CHARACTERS:,} characters of different references")
            self._spelled[reference] = _resolve(reference, self._root)
        return self._spelled[reference]

    def _check_pattern(self, pattern: str) -> None:
        if pattern in self._patterns:
            return
        self._patterns.add(pattern)
        self._pattern_characters += len(pattern)
        if len(self._patterns) > MAX_PATTERNS:
            raise ValueError(f"has more than {MAX_PATTERNS:,} different patterns")
        check_pattern(pattern)
        if self._pattern_characters > MAX_PATTERN_CHARACTERS:
            raise ValueError(f"has more than {MAX_PATTERN_CHARACTERS:,} characters of different patterns")


def _in_lists(outer: list[Any]) -> Iterator[Any]:
    """What a list holds, and the lists in it."""
    todo = outer[::-1]
    while todo:
        inner = todo.pop()
        if isinstance(inner, list):
            todo += inner[::-1]
        else:
            yield inner


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference[1:].split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and _is_index(name) and int(name) < len(node):
            node = node[int(name)]
        else:
            raise ValueError(f"$ref {_shown(reference)} points nowhere")
    if node is root or not isinstance(node, (dict, bool)):
        raise ValueError(f"$ref {_shown(reference)} leads to no schema of its own")
    return node


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= MAX_INDEX_DIGITS


def _shown(reference: Any) -> str:
    return ascii(reference[:60] if isinstance(reference, str) else reference)[:60]
