"""What a task becomes at the library's door, which answers with grey here."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_diffusion_cpp as sd
from PIL import Image
from studio_worker_sdcpp import SdCppEngine
from studio_worker_sdcpp.library import Context
from studio_worker_sdcpp.order import Order
from studio_worker_sdcpp.settings import Settings
from studio_worker_sdcpp.shooting import whole_blocks

from studio_worker import BadInput, LoadOptions, ModelSource, UnsupportedTask, VideoResult, VideoTask
from studio_worker.wire.results import sniff_ext
from studio_worker.wire.tasks import SAMPLING_METHODS


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model makes films; no small one can be had."""
    monkeypatch.setattr(Context, "makes_films", True)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_every_field_of_a_task_reaches_the_library(engine: SdCppEngine, job: Any, seen: Any) -> None:
    made = job(
        prompt="ein Becher, größer",
        negative_prompt="Teller",
        width=100,
        height=64,
        steps=7,
        cfg_scale=4.5,
        sampling_method="heun",
        seed=2**62,
        options=LoadOptions(flow_shift=3.0),
    )
    engine.run(made)
    (call,) = seen
    assert (call.prompt, call.negative_prompt, call.size) == ("ein Becher, größer", "Teller", (128, 64))
    assert (call.steps, call.cfg_scale, call.seed, call.flow_shift) == (7, 4.5, 2**62, 3.0)
    assert call.sampler == sd.SampleMethod.HEUN_SAMPLE_METHOD
    assert (call.init, call.mask, call.references, call.loras, call.tiling) == (None, None, [], [], False)
    assert made.meta["samplingMethod"] == "heun"


def test_what_a_task_leaves_open_is_left_to_the_model(engine: SdCppEngine, job: Any, seen: Any) -> None:
    engine.run(job())
    assert (seen[0].negative_prompt, seen[0].cfg_scale, seen[0].flow_shift) == ("", 1.0, float("inf"))
    assert seen[0].sampler == sd.SampleMethod.SAMPLE_METHOD_COUNT


def test_guidance_of_nothing_means_none(engine: SdCppEngine, job: Any, seen: Any) -> None:
    engine.run(job(cfg_scale=0.0))
    assert seen[0].cfg_scale == 1.0


@pytest.mark.parametrize("name", SAMPLING_METHODS)
def test_every_sampler_of_the_contract_is_known_to_the_library(
    engine: SdCppEngine, job: Any, seen: Any, name: str
) -> None:
    engine.run(job(sampling_method=name))
    assert seen[0].sampler == sd.SAMPLE_METHOD_MAP[name]


def test_a_sampler_that_the_library_does_not_know_is_refused(loaded: Any, seen: Any) -> None:
    with pytest.raises(UnsupportedTask, match=r"task\.samplingMethod: .* has no sampler --help"):
        loaded.context.picture(Order(prompt="", width=64, height=64, seed=1, steps=1, cfg_scale=1, sampler="--help"))
    assert seen == []


@pytest.mark.parametrize(("seed", "given"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, 0), (2**64 - 1, 2**63 - 1)])
def test_a_seed_never_becomes_negative_which_would_mean_a_random_one(
    engine: SdCppEngine, job: Any, seen: Any, seed: int, given: int
) -> None:
    engine.run(job(seed=seed))
    assert seen[0].seed == given


def test_a_prompt_is_not_cut_at_a_zero(engine: SdCppEngine, job: Any, seen: Any) -> None:
    engine.run(job(prompt="a\0cup"))
    assert seen[0].prompt == "a cup"


@pytest.mark.parametrize(("denoise", "strength"), [(None, 0.75), (0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_denoise_is_the_strength(
    engine: SdCppEngine, job: Any, seen: Any, saved: Any, denoise: float | None, strength: float
) -> None:
    picture = noise(64, 64)
    engine.run(job(inputs={"image": saved(picture)}, denoise=denoise))
    assert seen[0].strength == strength
    assert seen[0].init.tobytes() == picture.tobytes()


def test_a_picture_and_its_mask_of_other_sizes_are_laid_on_the_same_place(
    engine: SdCppEngine, job: Any, seen: Any, saved: Any
) -> None:
    mask = Image.new("L", (200, 100), 0)
    mask.paste(255, (100, 0, 200, 100))
    inputs = {"image": saved(mask.convert("RGB"), "image"), "mask": saved(mask, "mask")}
    engine.run(job(inputs=inputs, width=80, height=40))
    (call,) = seen
    assert call.init.size == call.mask.size == call.size == (128, 64)
    assert np.abs(np.asarray(call.init.convert("L"), dtype=int) - np.asarray(call.mask)).max() <= 2
    assert [call.mask.getpixel((x, 32)) for x in (24, 58, 70, 103)] == [0, 0, 255, 255]


def test_black_of_a_mask_keeps_every_pixel(engine: SdCppEngine, job: Any, seen: Any, saved: Any) -> None:
    picture, mask = noise(70, 70), Image.new("L", (70, 70), 0)
    mask.paste(255, (0, 0, 35, 70))
    inputs = {"image": saved(picture, "image"), "mask": saved(mask, "mask")}
    made = Image.open(io.BytesIO(engine.run(job(inputs=inputs, width=70, height=70)).data))  # type: ignore[arg-type]
    assert made.crop((35, 0, 70, 70)).tobytes() == picture.crop((35, 0, 70, 70)).tobytes()
    assert made.crop((0, 0, 35, 70)).getcolors() == [(35 * 70, (60, 60, 60))]


def test_a_reference_is_given_whole_and_comes_before_a_picture_to_start_from(
    engine: SdCppEngine, job: Any, seen: Any, saved: Any
) -> None:
    reference = noise(90, 30)
    engine.run(job(inputs={"ref_image": saved(reference, "ref"), "image": saved(noise(64, 64), "image")}))
    assert [picture.tobytes() for picture in seen[0].references] == [reference.tobytes()]
    assert seen[0].init is None


def test_loras_are_given_by_the_claims_own_files(engine: SdCppEngine, job: Any, seen: Any) -> None:
    engine.run(job(prompt="a cup<lora:twist:0.5><lora:|high_noise|twist.gguf:2>"))
    assert seen[0].prompt == "a cup"
    assert seen[0].loras == [("twist.gguf", 0.5, False), ("twist.gguf", 2.0, True)]


@pytest.mark.parametrize("name", ["../twist", "../../etc/passwd", "/etc/passwd", "other"])
def test_a_lora_that_the_claim_does_not_bring_never_reaches_the_library(
    engine: SdCppEngine, job: Any, seen: Any, name: str
) -> None:
    with pytest.raises(BadInput, match=r"task\.prompt: the LoRA"):
        engine.run(job(prompt=f"a cup<lora:{name}:1>"))
    assert seen == []


def test_the_operators_settings_reach_the_library(job: Any, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monkeypatch.setattr(sd, "sd_set_preview_callback", lambda callback, mode, *_: modes.append(int(mode)))
    SdCppEngine(Settings(vae_tiling=True, previews=False)).run(job())
    SdCppEngine().run(job())
    assert [call.tiling for call in seen] == [True, False]
    assert modes == [sd.Preview.PREVIEW_NONE, sd.Preview.PREVIEW_PROJ]


def test_load_options_and_settings_reach_the_library(
    engine: SdCppEngine, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(reference: Any) -> None:
        asked.append(reference._obj)

    monkeypatch.setattr(sd, "new_sd_ctx", refuse)
    settings = Settings(threads=5, flash_attention=False, vae_on_cpu=True, mmap=True, max_vram_gb=2.5)
    options = LoadOptions(offload_to_cpu=True, zero_cond_t=True)
    for given in (options, replace(options, threads=3)):
        with pytest.raises(Exception, match="could not be loaded"):
            SdCppEngine(settings).load(replace(model, options=given))
    first, second = asked
    assert (first.n_threads, second.n_threads) == (5, 3)
    assert (first.offload_params_to_cpu, first.qwen_image_zero_cond_t) == (True, True)
    assert (first.keep_vae_on_cpu, first.enable_mmap) == (True, True)
    assert (first.diffusion_flash_attn, first.keep_clip_on_cpu, first.max_vram) == (False, False, 2.5)
    assert (first.vae_decode_only, first.free_params_immediately) == (False, False)
    assert first.model_path == str(model.files["model"][0]).encode()


@pytest.mark.parametrize("ext", ["webp", "png", "jpg", "jpeg", "gif"])
def test_a_picture_is_what_its_ext_says(engine: SdCppEngine, job: Any, seen: Any, ext: str) -> None:
    result = engine.run(job(ext=ext))
    assert result.ext == ext
    assert sniff_ext(result.data[:64]) == {"jpeg": "jpg"}.get(ext, ext)  # type: ignore[index]  # bytes here


@pytest.mark.usefixtures("films")
@pytest.mark.parametrize("ext", ["mp4", "webm", "webp", "gif"])
def test_a_film_is_what_its_ext_says(engine: SdCppEngine, job: Any, seen: Any, tmp_path: Path, ext: str) -> None:
    made = job(task=VideoTask(prompt="waves", seconds=0.5, fps=12, width=80, height=48, ext=ext))
    result = engine.run(made)
    assert isinstance(result, VideoResult)
    assert (result.ext, result.data) == (ext, tmp_path / f"film.{ext}")
    assert sniff_ext((tmp_path / f"film.{ext}").read_bytes()[:64]) == ext
    assert (seen[0].frames, seen[0].size, made.meta["frames"], made.meta["fps"]) == (9, (128, 64), 6, 12)


@pytest.mark.usefixtures("films")
def test_a_film_takes_what_its_source_and_options_say(engine: SdCppEngine, job: Any, seen: Any, saved: Any) -> None:
    defaults = {"steps": 4, "cfgScale": 2.5, "samplingMethod": "euler"}
    source = ModelSource.from_wire({"engine": "sd-cpp", "files": [], "cliDefaults": defaults})
    task = VideoTask(prompt="waves<lora:twist:1>", negative_prompt="boats", seconds=0.1, ext="gif", width=64, height=64)
    picture = noise(64, 64)
    options = LoadOptions(flow_shift=5.0)
    engine.run(job(task=task, source=source, options=options, inputs={"image": saved(picture)}, seed=9))
    (call,) = seen
    assert (call.prompt, call.negative_prompt, call.seed) == ("waves", "boats", 9)
    assert (call.steps, call.cfg_scale, call.flow_shift) == (4, 2.5, 5.0)
    assert call.sampler == sd.SampleMethod.EULER_SAMPLE_METHOD
    assert call.init.tobytes() == picture.tobytes()
    assert len(call.loras) == 1


@pytest.mark.usefixtures("films")
def test_a_film_without_a_source_takes_what_wan_was_made_for(engine: SdCppEngine, job: Any, seen: Any) -> None:
    made = job(task=VideoTask(prompt="waves", seconds=1.0, ext="gif", width=64, height=64))
    engine.run(made)
    assert (seen[0].steps, seen[0].cfg_scale, seen[0].frames, made.meta["fps"]) == (20, 6.0, 17, 16)


@pytest.mark.usefixtures("films")
def test_a_film_of_too_many_frames_is_refused_before_any_work(job: Any, seen: Any) -> None:
    with pytest.raises(BadInput, match=r"task\.seconds: 2 seconds of 30 frames are 60 frames, at most 33"):
        SdCppEngine(Settings(max_frames=33)).run(job(task=VideoTask(prompt="waves", seconds=2.0, fps=30)))
    assert seen == []


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (2, 5), (5, 5), (6, 9), (81, 81), (82, 85)])
def test_frames_are_made_in_the_blocks_that_the_autoencoder_knows(asked: int, made: int) -> None:
    assert whole_blocks(asked) == made


def test_a_model_of_films_makes_no_pictures(
    engine: SdCppEngine, job: Any, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "makes_pictures", False)
    with pytest.raises(UnsupportedTask, match="the model sdxs makes videos, not pictures"):
        engine.run(job())
