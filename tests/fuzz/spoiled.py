"""What hypothesis makes of sound things: bytes damaged or cut, JSON with something else in some of its places."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**64), 1.5, 1e308, -0.0),
    *("", "0", "１２", "\0", "..", "../x", "a\r\nX: y", "\x1b[2J", "\u202e", "x" * 5_000, "🦄"),
    *([], {}, [[]], [None], ["x"], [{}], {"": None}, {"kind": "llm"}, [0] * 200),
)
"""Values of every type, most of them wrong wherever they stand."""


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, item in inside for way in ((*at, key), *places(item, (*at, key)))]


@st.composite
def spoiled(draw: st.DrawFn, sound: Any, hostile: st.SearchStrategy[Any] | None = None) -> Any:
    """A JSON value like `sound`, but for one to three places that are changed, gone, doubled or new."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        ways = places(value)
        if not ways:
            return value
        *way, last = draw(st.sampled_from(ways))
        node = value
        for key in way:
            node = node[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if change == "remove":
            del node[last]
            continue
        # A copy, since a later round may change what it finds inside.
        new = copy.deepcopy(draw(hostile if hostile is not None else st.sampled_from(HOSTILE)))
        if change == "replace":
            node[last] = new
        elif isinstance(node, dict):
            node[draw(st.sampled_from(["", "x", "kind", "__proto__", "\0", "é"]))] = new
        else:
            node.insert(last, new)
    return value


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Bytes like `sound`, but with some changed, with lengths that lie, a piece gone or come twice, or cut."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["byte", "bit", "length", "gone", "twice", "cut"])):
            case "byte" if data:
                data[at] = draw(st.integers(0, 255))
            case "bit" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "length":
                size = draw(st.sampled_from([1, 2, 4, 8]))
                number = draw(st.sampled_from([0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**63, 2**64 - 1]))
                order = draw(st.sampled_from(["little", "big"]))
                data[at : at + size] = (number & (2 ** (8 * size) - 1)).to_bytes(size, order)
            case "gone":
                del data[at : at + draw(st.integers(1, 16))]
            case "twice":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
            case _:
                del data[at:]
    return bytes(data)
