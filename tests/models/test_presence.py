from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from studio_worker.models.presence import MAX_KNOWN, Presence
from studio_worker.wire.model_source import ModelFile, parse_model_source

ROOT = Path("/models")


def files(**more: object) -> tuple[ModelFile, ...]:
    file = {"role": "model", "url": "https://files.example/a", "filename": "a", **more}
    return tuple(parse_model_source({"engine": "onnx", "files": [file]}).files)


def test_what_was_noted_is_known_for_the_very_same_model_files_and_folder() -> None:
    presence = Presence()
    presence.note("m", files(), ROOT)
    assert presence.knows("m", files(), ROOT)
    assert not presence.knows("other", files(), ROOT)
    assert not presence.knows("m", files(), Path("/elsewhere"))
    for change in ({"sha256": "a" * 64}, {"url": "https://files.example/b"}, {"approxBytes": 7}):
        assert not presence.knows("m", files(**change), ROOT)


def test_what_is_doubted_is_not_known() -> None:
    presence = Presence()
    for model in ("a", "b"):
        presence.note(model, files(), ROOT)
    presence.doubt("a", files(), ROOT)
    presence.doubt("never noted", files(), ROOT)
    assert (presence.knows("a", files(), ROOT), presence.knows("b", files(), ROOT)) == (False, True)
    presence.doubt_all()
    assert not presence.knows("b", files(), ROOT)


def test_the_model_asked_for_longest_ago_is_forgotten() -> None:
    presence = Presence()
    for number in range(MAX_KNOWN):
        presence.note(str(number), files(), ROOT)
    presence.note("0", files(), ROOT)
    presence.note("one more", files(), ROOT)
    assert presence.knows("0", files(), ROOT)
    assert not presence.knows("1", files(), ROOT)


def test_a_doubt_of_another_thread_in_the_middle_of_a_note_upsets_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shaken(OrderedDict[Any, None]):
        """Doubted by a thread of the quota's as soon as something was put into it."""

        def __setitem__(self, key: Any, value: None) -> None:
            super().__setitem__(key, value)
            presence.doubt_all()

    presence = Presence()
    monkeypatch.setattr(presence, "_known", Shaken())
    presence.note("m", files(), ROOT)
    assert not presence.knows("m", files(), ROOT)
