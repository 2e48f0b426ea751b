from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from PIL import Image
from studio_worker_onnx import OnnxEngine
from studio_worker_onnx.picture import Picture
from studio_worker_onnx.removal import remove

from studio_worker import EngineJob, ImageTask

BLUE = (51, 153, 204)


@pytest.fixture(scope="session")
def models(engine: OnnxEngine, make_graph: Any, files_of: Any) -> dict[str, Any]:
    """A small graph of a fixed size and one that takes any."""
    sizes = {"fixed": (96, 128), "free": ("h", "w")}
    return {name: engine.load(files_of(make_graph(size=size))) for name, size in sizes.items()}


@given(
    kind=st.sampled_from(["fixed", "free"]),
    ext=st.sampled_from(["png", "webp"]),
    mode=st.sampled_from(["RGB", "RGBA", "L"]),
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    spots=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pixel_outside_the_mask_keeps_its_value(
    models: dict[str, Any], kind: str, ext: str, mode: str, width: int, height: int, spots: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8), "RGBA").convert(mode)
    mask = Image.fromarray(random.integers(0, 129, (height, width), np.uint8))
    for _ in range(spots):
        left, top = int(random.integers(width)), int(random.integers(height))
        mask.paste(255, (left, top, left + int(random.integers(1, 99)), top + int(random.integers(1, 99))))
    with tempfile.TemporaryDirectory() as folder:
        made = new_job(models[kind], Path(folder), base, mask, ext)
        before = np.asarray(Image.open(made.inputs["image"]).convert("RGBA"))
        after = np.asarray(Image.open(OnnxEngine().run(made).data).convert("RGBA"))
    outside = np.asarray(mask) <= 128
    assert after.shape == before.shape
    assert (after[outside] == before[outside]).all()


def new_job(model: Any, folder: Path, base: Image.Image, mask: Image.Image, ext: str) -> EngineJob:
    inputs = {"image": folder / "image", "mask": folder / "mask"}
    base.save(inputs["image"], "PNG")
    mask.save(inputs["mask"], "PNG")
    task = ImageTask(prompt="x", ext=ext)
    return EngineJob(id="j", model="m", task=task, seed=1, work_dir=folder, log=logger, inputs=inputs, loaded=model)


class Recorder:
    """A model that keeps what it was shown and paints all of it blue."""

    def __init__(self, layout: Any) -> None:
        self.layout = layout
        self.pixels: Any = None
        self.marks: Any = None

    def paint(self, pixels: Any, marks: Any, job: Any) -> Any:
        self.pixels, self.marks = pixels, marks
        return np.full_like(pixels, BLUE)


@pytest.fixture
def recorder(loaded: Any) -> Recorder:
    return Recorder(loaded.layout)


def test_the_model_sees_the_crop_around_the_mask_in_its_own_size(recorder: Recorder, job: Any, noise: Any) -> None:
    base = noise(1_000, 1_000)
    marks = np.zeros((1_000, 1_000), bool)
    marks[500:600, 500:600] = True
    remove(Picture(base), marks, recorder, job(None, None))
    seen = Image.fromarray(recorder.pixels)
    assert seen.size == (512, 512)
    assert seen.tobytes() == base.crop((422, 422, 678, 678)).resize((512, 512), Image.Resampling.BILINEAR).tobytes()
    assert recorder.marks[200, 200]
    assert not recorder.marks[100, 100]


def test_a_free_size_is_shown_without_scaling(recorder: Recorder, job: Any, noise: Any) -> None:
    recorder.layout = replace(recorder.layout, width=None, height=None)
    base = noise(500, 400)
    marks = np.zeros((400, 500), bool)
    marks[200:220, 200:220] = True
    remove(Picture(base), marks, recorder, job(None, None))
    assert recorder.pixels.shape == (256, 256, 3)
    assert recorder.pixels.tobytes() == base.crop((82, 82, 338, 338)).tobytes()
    assert recorder.marks.tolist() == marks[82:338, 82:338].tolist()


def test_all_of_a_wide_mark_in_a_low_picture_is_painted(recorder: Recorder, job: Any, noise: Any) -> None:
    marks = np.zeros((60, 900), bool)
    marks[20:40, 10:890] = True
    made = remove(Picture(noise(900, 60)), marks, recorder, job(None, None))
    assert (np.asarray(made.rgb)[24:36, 14:886] == BLUE).all()


def test_a_picture_that_is_marked_whole_is_painted_whole(recorder: Recorder, job: Any, noise: Any) -> None:
    made = remove(Picture(noise(120, 90)), np.ones((90, 120), bool), recorder, job(None, None))
    assert (np.asarray(made.rgb) == BLUE).all()


def test_the_picture_that_was_given_is_not_written_on(recorder: Recorder, job: Any, noise: Any) -> None:
    base = noise(80, 80, "RGBA")
    given = Picture(base.convert("RGB"), base.getchannel("A"))
    made = remove(given, np.ones((80, 80), bool), recorder, job(None, None))
    assert given.rgb.tobytes() == base.convert("RGB").tobytes()
    assert given.alpha is not None
    assert given.alpha.tobytes() == base.getchannel("A").tobytes()
    assert made.alpha is not None
    assert made.alpha.getextrema() == (255, 255)


def test_the_colour_profile_stays(recorder: Recorder, job: Any, noise: Any) -> None:
    given = Picture(noise(80, 80), icc=b"profile")
    assert remove(given, np.ones((80, 80), bool), recorder, job(None, None)).icc == b"profile"
