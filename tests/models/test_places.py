"""Where model files lie: whatever a model is called, below the models folder."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from studio_worker.models.places import folders, own_folder, sanitised
from studio_worker.wire.model_source import ModelFile

ROOT = Path("/models")
IDS = st.text(st.characters(), max_size=300) | st.lists(st.sampled_from(["..", "/", "\\", ".", "a", "\0"])).map("".join)


def file(sha256: str | None = None, url: str = "https://h/m.gguf") -> ModelFile:
    return ModelFile(role="model", url=url, filename="m.gguf", sha256=sha256)


@given(IDS)
@example("..")
@example("../../etc")
@example("\ud800")
def test_a_models_id_is_one_plain_folder_name(model: str) -> None:
    name = sanitised(model)
    assert name.isascii()
    assert 0 < len(name) <= 200
    assert not name.startswith(".")
    assert not set(name) & set("/\\:\0")
    assert sanitised(name) == name


@given(IDS)
@example("..")
def test_every_folder_of_a_file_lies_below_the_models_folder(model: str) -> None:
    for folder in folders(ROOT, model, file()):
        assert os.path.normpath(folder) == str(folder)
        assert folder.is_relative_to(ROOT)


@given(IDS, IDS)
def test_two_models_with_names_that_look_alike_on_disk_have_two_folders(one: str, other: str) -> None:
    assert (own_folder(ROOT, one, file()) == own_folder(ROOT, other, file())) == (one == other)


def test_a_signature_in_a_url_does_not_make_it_another_file() -> None:
    plain, signed = file(), file(url="https://h/m.gguf?signature=1#x")
    assert own_folder(ROOT, "m", plain) == own_folder(ROOT, "m", signed)
    assert own_folder(ROOT, "m", plain) != own_folder(ROOT, "m", file(sha256="ab" * 32))
