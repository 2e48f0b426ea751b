"""What a `jsonSchema` of an llm task may be: self-contained, finite, and harmless to whoever compiles it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

MAX_DEPTH = 64
MAX_NODES = 20_000
MAX_PATTERN = 1_000


def check_schema(schema: Any) -> None:
    """Raise ValueError, with the reason, for a schema that must not reach a grammar compiler.

    Refused: anything but an object or a boolean; nesting past 64 levels; more than 20,000 nodes; a `$ref` that
    leaves the document, points nowhere or leads back to itself; a `pattern` with nested unbounded repetition
    (which backtracks for ever). Nothing is ever fetched.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ValueError("must be a JSON Schema object")
    _check_size(schema)
    _check_references(schema, schema, ())


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
        if isinstance(node, dict):
            if isinstance(pattern := node.get("pattern"), str):
                _check_pattern(pattern)
            for name in (
                (node.get("patternProperties") or {}) if isinstance(node.get("patternProperties"), dict) else ()
            ):
                _check_pattern(name)
            todo += [(inner, depth + 1) for inner in node.values()]
        elif isinstance(node, list):
            todo += [(inner, depth + 1) for inner in node]


def _check_references(node: Any, root: dict[str, Any], followed: tuple[str, ...]) -> None:
    if isinstance(node, list):
        for inner in node:
            _check_references(inner, root, followed)
    if not isinstance(node, dict):
        return
    for key, inner in node.items():
        if key in ("$defs", "definitions", "const", "enum", "default", "examples"):
            continue
        if key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if not isinstance(inner, str) or not inner.startswith("#"):
                raise ValueError(f"{key} {str(inner)[:80]!r} leaves the schema; only '#/...' is followed")
            if inner in followed or inner == "#":
                raise ValueError(f"{key} {inner[:80]!r} leads back to itself; recursive schemas are not supported")
            if len(followed) > MAX_DEPTH:
                raise ValueError(f"{key} chains are longer than {MAX_DEPTH}")
            _check_references(_resolve(inner, root), root, (*followed, inner))
        else:
            _check_references(inner, root, followed)


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for part in reference[1:].lstrip("/").split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isascii() and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            raise ValueError(f"$ref {reference[:80]!r} points nowhere")
    return node


_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]|[*+]|\{\d*,\d*\}|.", re.DOTALL)


def _check_pattern(pattern: str) -> None:
    """Refuse patterns that are too long, broken, or repeat a group that itself repeats without bound."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"pattern has {len(pattern):,} characters, at most {MAX_PATTERN:,} are allowed")
    tokens = _TOKEN.findall(pattern)
    open_groups: list[bool] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if token == "(":
            open_groups.append(False)
        elif token == ")":
            repeats = open_groups.pop() if open_groups else False
            if repeats and _UNBOUNDED.fullmatch(following):
                raise ValueError(f"pattern {pattern[:80]!r} repeats a group that repeats, which can take for ever")
            if repeats and open_groups:
                open_groups[-1] = True
        elif _UNBOUNDED.fullmatch(token) and open_groups:
            open_groups[-1] = True
