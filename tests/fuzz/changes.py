"""Changes that leave the outer form of a message whole, so that a search gets at what lies behind it."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from random import Random
from typing import Any

from tests.fuzz.spoiled import HOSTILE, places

HEAD_START, HEAD_END = 12, 29
"""The part of a PNG file that its first sum is of."""


def change_json(data: bytes, random: Random) -> bytes | None:
    """JSON with one to three of its places changed; None for what is no JSON."""
    try:
        value = json.loads(data)
        for _ in range(random.randint(1, 3)):
            value = _changed(value, random)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return None


def _changed(value: Any, random: Random) -> Any:
    ways = places(value)
    if not ways:
        return random.choice(HOSTILE)
    *way, last = random.choice(ways)
    node = value
    for key in way:
        node = node[key]
    match random.randrange(6):
        case 0:
            del node[last]
        case 1 if isinstance(node, dict):
            node[random.choice(["", "x", "kind", "type", "$ref"])] = node.pop(last)
        case 1:
            node.insert(last, copy.deepcopy(random.choice(node)))
        case 2:
            node[last] = copy.deepcopy(_at(value, random.choice(ways)))
        case 3:
            node[last] = copy.deepcopy(random.choice(HOSTILE))
        case _:
            node[last] = _another(node[last], random)
    return value


def _at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def _another(value: Any, random: Random) -> Any:
    """A value of the same type, not far from this one."""
    match value:
        case bool() | None:
            return random.choice([True, False, None])
        case int():
            return random.choice([value + 1, value - 1, -value, value * 2, random.getrandbits(random.randint(1, 66))])
        case float():
            return random.choice([value / 3, -value, value * 1e10, random.random()])
        case str():
            at = random.randint(0, len(value))
            piece = random.choice([chr(random.randrange(32, 127)), chr(random.randrange(0x11_0000)), value[:at], ""])
            return value[:at] + piece + value[at + random.randint(0, 2) :]
        case list():
            return random.sample(value, len(value)) + value[: random.randint(0, 3)]
        case _:
            return {}


def change_header(data: bytes, random: Random) -> bytes | None:
    """A safetensors file with its header changed, and the header's length with it."""
    length = int.from_bytes(data[:8], "little")
    changed = change_json(data[8 : 8 + length], random)
    return None if changed is None else struct.pack("<Q", len(changed)) + changed + data[8 + length :]


def change_frames(data: bytes, random: Random) -> bytes | None:
    """The frames of a child's pipe with one of them changed, and its length with it."""
    frames = []
    while len(data) > 4:
        length = int.from_bytes(data[:4], "big")
        frames.append(data[4 : 4 + length])
        data = data[4 + length :]
    if not frames:
        return None
    at = random.randrange(len(frames))
    frames[at] = change_json(frames[at], random) or frames[at]
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)


def change_png(data: bytes, random: Random) -> bytes | None:
    """A PNG file with its header changed, and the header's sum with it."""
    if len(data) < HEAD_END + 4:
        return None
    head = bytearray(data[HEAD_START:HEAD_END])
    for _ in range(random.randint(1, 3)):
        head[random.randrange(4, len(head))] = random.choice([0, 1, 2, 3, 4, 6, 8, 16, random.randrange(256)])
    return data[:HEAD_START] + head + struct.pack(">I", zlib.crc32(head)) + data[HEAD_END + 4 :]
