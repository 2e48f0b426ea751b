from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from studio_worker_onnx import OnnxEngine, studio_worker_engines
from studio_worker_onnx.engine import MEMORY_FACTOR

from studio_worker import (
    Available,
    BadInput,
    EngineError,
    LlmTask,
    PluginConfig,
    TaskKind,
    Unavailable,
    UnsupportedTask,
)

PAINTED = (51, 153, 204)


def opened(result: Any) -> Image.Image:
    picture = Image.open(result.data)
    picture.load()
    return picture


def test_the_plugin_is_found_under_its_name_and_serves_its_source() -> None:
    found = entry_points(group="studio_worker", name="onnx")
    assert [point.value for point in found] == ["studio_worker_onnx"]
    (engine,) = studio_worker_engines(PluginConfig())
    assert engine.name == "onnx"
    assert engine.isolation == "process"
    assert dict(engine.capabilities().models) == {TaskKind.IMAGE: ("onnx:*",)}
    assert engine.availability() == Available()


@pytest.mark.parametrize(
    ("table", "is_deterministic"),
    [({}, False), ({"providers": ["cpu"]}, True), ({"providers": ["cuda", "cpu"]}, False), ({"threads": 1}, False)],
)
def test_the_same_bytes_are_promised_where_only_the_cpu_is_used(table: dict[str, Any], is_deterministic: bool) -> None:
    (engine,) = studio_worker_engines(PluginConfig(table))
    assert engine.deterministic is is_deterministic


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio_worker_onnx import OnnxEngine; e = OnnxEngine(); e.capabilities(); "
        "e.availability(); print([n for n in ('numpy', 'onnxruntime', 'PIL', 'pydantic') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_marked_is_painted_and_all_else_stays(engine: OnnxEngine, job: Any, noise: Any, marked: Any) -> None:
    base = noise(700, 500)
    made = job(base, marked(700, 500, 300, 200, 380, 260))
    result = engine.run(made)
    assert (result.ext, result.data.parent) == ("png", made.work_dir)
    picture = opened(result)
    assert (picture.mode, picture.size) == ("RGB", (700, 500))
    before, after = np.asarray(base), np.asarray(picture)
    inside = np.zeros((500, 700), bool)
    inside[200:260, 300:380] = True
    assert (after[~inside] == before[~inside]).all()
    assert (after[206:254, 306:374] == PAINTED).all()


def test_the_edge_of_the_mask_is_soft_from_within(engine: OnnxEngine, job: Any, marked: Any) -> None:
    base = Image.new("RGB", (400, 300), (0, 0, 0))
    result = engine.run(job(base, marked(400, 300, 100, 100, 200, 200)))
    blue = np.asarray(opened(result))[150, 98:106, 2].tolist()
    assert blue[:2] == [0, 0]
    assert blue[2:] == sorted(blue[2:])
    assert 100 < blue[2] < 130
    assert blue[-1] == 204


def test_the_same_job_gives_the_same_bytes(engine: OnnxEngine, job: Any, noise: Any, marked: Any) -> None:
    base, mask = noise(300, 300), marked(300, 300, 40, 40, 90, 90)
    first, second = (engine.run(job(base, mask, ext="webp")).data.read_bytes() for _ in range(2))
    assert first == second


def test_a_mask_without_white_gives_the_picture_back_without_asking_the_model(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any
) -> None:
    base = noise(90, 70)
    stages: list[str] = []
    made = job(base, marked(90, 70), on_progress=lambda step, total, stage, preview: stages.append(stage))
    assert opened(engine.run(made)).tobytes() == base.tobytes()
    assert stages == ["load", "crop", "paste"]


def test_the_picture_keeps_its_size_whatever_the_task_says(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any
) -> None:
    made = job(noise(333, 222), marked(333, 222, 10, 10, 30, 30), width=64, height=1024)
    assert opened(engine.run(made)).size == (333, 222)
    assert made.meta == {"provider": "cpu", "width": 333, "height": 222}


def test_progress_names_its_stages_in_order(engine: OnnxEngine, job: Any, noise: Any, marked: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    mask = marked(64, 64, 10, 10, 30, 30)
    engine.run(job(noise(64, 64), mask, on_progress=lambda *step: seen.append(step[:3])))
    assert seen == [(0, 4, "load"), (1, 4, "crop"), (2, 4, "inpaint"), (3, 4, "paste"), (4, 4, "paste")]


@pytest.mark.parametrize(
    ("image", "mask", "field"), [(False, True, "task.initImageUrl"), (True, False, "task.maskUrl")]
)
def test_a_missing_input_is_named_by_its_field_on_the_wire(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, image: bool, mask: bool, field: str
) -> None:
    made = job(noise(64, 64) if image else None, marked(64, 64, 1, 1, 9, 9) if mask else None)
    with pytest.raises(BadInput, match=rf"^{field}: object removal needs"):
        engine.run(made)


def test_a_mask_of_another_size_is_refused_with_both_sizes(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any
) -> None:
    with pytest.raises(BadInput, match=r"task\.maskUrl: the mask has 63 x 64 pixels, the picture 64 x 64"):
        engine.run(job(noise(64, 64), marked(63, 64, 1, 1, 9, 9)))


def test_a_reference_picture_is_refused(engine: OnnxEngine, job: Any, noise: Any, marked: Any) -> None:
    made = job(noise(64, 64), marked(64, 64, 1, 1, 9, 9), ref_image_url="https://files.example/r.png")
    with pytest.raises(UnsupportedTask, match=r"task\.refImageUrl"):
        engine.run(made)


def test_a_task_of_another_kind_is_refused(engine: OnnxEngine, job: Any, noise: Any) -> None:
    made = job(noise(8, 8), noise(8, 8))
    made.task = LlmTask(messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(UnsupportedTask, match="onnx serves image tasks, not llm"):
        engine.run(made)


def test_a_format_too_small_for_the_picture_is_refused_before_any_work(
    engine: OnnxEngine, job: Any, marked: Any
) -> None:
    stages: list[str] = []
    made = job(
        Image.new("RGB", (16_400, 8)),
        marked(16_400, 8, 1, 1, 5, 5),
        ext="webp",
        on_progress=lambda step, total, stage, preview: stages.append(stage),
    )
    with pytest.raises(UnsupportedTask, match=r"task\.ext: webp holds sides of 16,383 pixels, not 16,400"):
        engine.run(made)
    assert stages == ["load"]


@pytest.mark.parametrize(("ext", "kind"), [("webp", "WEBP"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("gif", "GIF")])
def test_a_result_is_what_its_ext_says(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, ext: str, kind: str
) -> None:
    result = engine.run(job(noise(80, 60), marked(80, 60, 10, 10, 30, 30), ext=ext))
    assert (result.ext, opened(result).format) == (ext, kind)


@pytest.mark.parametrize("ext", ["png", "webp"])
def test_transparency_stays_outside_the_mask_and_ends_inside_it(
    engine: OnnxEngine, job: Any, noise: Any, marked: Any, ext: str
) -> None:
    base = noise(200, 160, "RGBA")
    picture = opened(engine.run(job(base, marked(200, 160, 50, 40, 90, 80), ext=ext)))
    assert picture.mode == "RGBA"
    before, after = np.asarray(base), np.asarray(picture)
    inside = np.zeros((160, 200), bool)
    inside[40:80, 50:90] = True
    assert (after[~inside] == before[~inside]).all()
    assert (after[46:74, 56:84, 3] == 255).all()


def test_an_estimate_is_a_factor_of_the_file(engine: OnnxEngine, make_graph: Any, files_of: Any) -> None:
    model = files_of(make_graph())
    estimate = engine.estimate(model)
    assert (estimate.ram_bytes, estimate.vram_bytes) == (MEMORY_FACTOR * model.files["model"][0].stat().st_size, 0)


def test_an_estimate_on_a_graphics_card_is_memory_of_the_card(
    engine: OnnxEngine, make_graph: Any, files_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: installed)
    model = files_of(make_graph())
    size = model.files["model"][0].stat().st_size
    assert engine.estimate(model).vram_bytes == MEMORY_FACTOR * size
    assert engine.estimate(files_of(model.files["model"][0], device="cpu")).vram_bytes == 0


def test_a_missing_library_makes_the_engine_unavailable_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_onnx.engine.find_spec", lambda name: None)
    assert OnnxEngine().availability() == Unavailable(
        "the package onnxruntime is not installed", "pip install onnxruntime"
    )


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"providers": "cpu"}, "plugins.onnx.providers must be a list of cuda, coreml, directml, cpu"),
        ({"providers": []}, "plugins.onnx.providers"),
        ({"providers": ["cpu", "tpu"]}, "plugins.onnx.providers"),
        ({"providers": [1]}, "plugins.onnx.providers"),
        ({"threads": 0}, "plugins.onnx.threads must be a whole number from 1 to 1024"),
        ({"threads": True}, "plugins.onnx.threads"),
        ({"threads": 1025}, "plugins.onnx.threads"),
        ({"threads": "all"}, "plugins.onnx.threads"),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        studio_worker_engines(PluginConfig(table))


def test_the_operators_settings_are_used(make_graph: Any, files_of: Any) -> None:
    (engine,) = studio_worker_engines(PluginConfig({"providers": ["coreml"], "threads": 2}))
    with pytest.raises(EngineError, match=r"plugins\.onnx\.providers asks for coreml, .* has cpu"):
        engine.load(files_of(make_graph()))


@pytest.mark.parametrize("roles", [{}, {"vae": 1}, {"model": 2}, {"model": 1, "lora": 1}])
def test_other_than_one_model_file_is_refused_with_what_there_is(
    engine: OnnxEngine, make_graph: Any, files_of: Any, roles: dict[str, int]
) -> None:
    model = files_of(make_graph())
    path = model.files["model"][0]
    object.__setattr__(model, "files", {role: [path] * count for role, count in roles.items()})
    with pytest.raises(EngineError, match="one file with the role model") as error:
        engine.load(model)
    assert not error.value.retryable
    assert all(role in str(error.value) for role in roles or ["none"])


def test_every_input_that_is_no_picture_is_refused_by_its_field(
    engine: OnnxEngine, job: Any, noise: Any, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(BadInput, match=r"task\.maskUrl: not a PNG, JPEG or WebP picture"):
        engine.run(job(noise(8, 8), text))
