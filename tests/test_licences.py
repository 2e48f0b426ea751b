"""What our packages bring along may be passed on under the licence that they state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"\b(MIT|MIT-0|MIT-CMU|0BSD|BSD|BSD-[23]-Clause|3-Clause BSD|Apache|Apache-2\.0|ISC|PSF-2\.0|Zlib|CC0-1\.0|"
    r"Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0)\b",
    re.IGNORECASE,
)
"""MPL asks for nothing but the source of its own files."""

COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|SSPL|BUSL|CC-BY-NC)", re.IGNORECASE)


def licence(name: str) -> str:
    """What a distribution says of itself: the expression, else the classifiers, else the old field."""
    metadata = distribution(name).metadata
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return metadata.get("License-Expression") or " ".join(classifiers) or metadata.get("License") or ""


def closure(name: str, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """A distribution and all that an installation of it brings here."""
    todo, seen = [(name, extras)], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name, extras
        for line in distribution(name).requires or []:
            wanted = Requirement(line)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                todo.append((wanted.name, frozenset(wanted.extras)))


def brought(name: str, *extras: str) -> dict[str, str]:
    """Name to licence of all that comes with a distribution, our own packages left out."""
    names = {each for each, _ in closure(name, frozenset(extras))}
    return {each: licence(each) for each in names if not each.startswith("studio-worker")}


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("studio-worker", ()),
        ("studio-worker", ("speed",)),
        ("studio-worker", ("video",)),
        ("studio-worker-llama", ()),
        ("studio-worker-sdcpp", ()),
        ("studio-worker-onnx", ()),
        ("studio-worker-whisper", ()),
    ],
)
def test_a_package_under_mit_brings_permissive_ones_alone(package, extras):
    assert licence(package) == "MIT"
    odd = {
        name: said
        for name, said in brought(package, *extras).items()
        if COPYLEFT.search(said) or not PERMISSIVE.search(said)
    }
    assert odd == {}


def test_the_package_around_piper_states_the_licence_that_piper_asks_for():
    assert licence("studio-worker-piper") == "GPL-3.0-or-later"
    copyleft = {name for name, said in brought("studio-worker-piper").items() if COPYLEFT.search(said)}
    assert copyleft == {"piper-tts"}


def test_the_core_brings_few_packages():
    """Thirty-six at most, as the ceiling of a light core has it."""
    assert len(brought("studio-worker")) + 1 <= 36
