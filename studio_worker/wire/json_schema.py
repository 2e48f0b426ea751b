"""What a `jsonSchema` of an llm task may be: self-contained, finite, and harmless to whoever compiles it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from studio_worker.wire.patterns import check_pattern

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_WALK = 2 * MAX_DEPTH

_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
"""Keywords whose value maps names, which are free, to schemas."""
_NO_SCHEMA = frozenset({"const", "enum", "default", "examples"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def check_schema(schema: Any) -> None:
    """Raise ValueError, with the reason, for a schema that must not reach a grammar compiler.

    Refused: anything but an object or a boolean; nesting past 64 levels; more than 20,000 nodes, written or with
    every reference put in its place; a `$ref` that leaves the document, points nowhere or leads back to itself;
    a `pattern` that can be read in two ways inside a repetition (see `wire.patterns`). Nothing is ever fetched.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError("must be a JSON Schema object")
    _check_size(schema)
    _Walk(schema).size(schema)


def _check_size(schema: dict[str, Any]) -> None:
    todo: list[tuple[Any, int]] = [(schema, 0)]
    nodes = 0
    while todo:
        node, depth = todo.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise ValueError(f"has more than {MAX_NODES:,} nodes")
        if isinstance(node, (dict, list)):
            todo += [(inner, depth + 1) for inner in (node.values() if isinstance(node, dict) else node)]


class _Walk:
    """One walk along every path that a compiler takes; each reference is followed once and its size remembered."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sizes: dict[str, int | None] = {}
        self._depth = 0

    def size(self, node: Any) -> int:
        """Nodes of a schema with its references put in their places."""
        if isinstance(node, list):
            return self._bounded(sum(self.size(inner) for inner in node))
        if not isinstance(node, dict):
            return 1
        self._depth += 1
        if self._depth > MAX_WALK:
            raise ValueError(f"is nested deeper than {MAX_WALK} levels once its references are put in place")
        total = 1
        for key, inner in node.items():
            if key in _NO_SCHEMA or key in _DEFINITIONS:
                continue
            if key in _REFERENCES:
                total += self._referenced(key, inner)
            elif key in _BY_NAME and isinstance(inner, dict):
                if key == "patternProperties":
                    for pattern in inner:
                        check_pattern(pattern)
                total += sum(self.size(schema) for schema in inner.values())
            else:
                if key == "pattern" and isinstance(inner, str):
                    check_pattern(inner)
                total += self.size(inner)
        self._depth -= 1
        return self._bounded(total)

    def _referenced(self, key: str, reference: Any) -> int:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ValueError(f"{key} {ascii(reference)[:60]} leaves the schema; only '#/...' is followed")
        if reference not in self._sizes:
            self._sizes[reference] = None
            self._sizes[reference] = self.size(_resolve(reference, self._root))
        known = self._sizes[reference]
        if known is None or reference == "#":
            raise ValueError(f"{key} {ascii(reference)[:60]} leads back to itself; recursive schemas are not supported")
        return known

    @staticmethod
    def _bounded(total: int) -> int:
        if total > MAX_NODES:
            raise ValueError(f"has more than {MAX_NODES:,} nodes once its references are put in place")
        return total


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference[1:].split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isascii() and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            raise ValueError(f"$ref {ascii(reference)[:60]} points nowhere")
    if node is root or not isinstance(node, (dict, bool)):
        raise ValueError(f"$ref {ascii(reference)[:60]} leads to no schema of its own")
    return node
