"""What the wire's tests share: a sound claim to spoil, and how hypothesis makes each thing of the wire."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

from studio_worker.errors import BadClaim
from studio_worker.wire import capabilities, frames, model_source, registration, tasks
from studio_worker.wire.claims import Claim, parse_claim

SOUND_TASKS: dict[str, dict[str, Any]] = {
    "image": {"kind": "image", "prompt": "a clay cup", "width": 64, "height": 64, "steps": 4, "ext": "png"},
    "llm": {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]},
    "audio_stt": {"kind": "audio_stt", "inputUrl": "https://studio.example/speech.wav"},
    "audio_tts": {"kind": "audio_tts", "text": "hello"},
    "video": {"kind": "video", "prompt": "a boat", "seconds": 1.0, "width": 64, "height": 64},
}
SOUND_CLAIM: dict[str, Any] = {
    "jobId": "j-9",
    "gameId": "g",
    "assetName": "g/items/cup",
    "model": "z-image.gguf",
    "vramGbEstimate": 12.0,
    "task": SOUND_TASKS["image"],
    "modelSource": {
        "engine": "sd-cpp",
        "files": [{"role": "diffusion-model", "url": "https://example.org/d.gguf", "filename": "d.gguf"}],
        "cliDefaults": {"cfgScale": 1.0, "steps": 8, "width": 1024, "height": 1024},
    },
}
ABSENT = object()


@pytest.fixture
def sound_claim() -> dict[str, Any]:
    """A claim that keeps the contract, fresh for each test."""
    return copy.deepcopy(SOUND_CLAIM)


@pytest.fixture
def sound_tasks() -> dict[str, dict[str, Any]]:
    """A task of each kind that keeps the contract."""
    return copy.deepcopy(SOUND_TASKS)


@pytest.fixture
def refused() -> Callable[..., BadClaim]:
    """Spoil one place of a sound claim (of `kind`) and return how it is refused; `ABSENT` deletes the place."""

    def spoil(place: str, value: Any = ABSENT, *, kind: str = "image") -> BadClaim:
        claim = copy.deepcopy(SOUND_CLAIM)
        claim["task"] = copy.deepcopy(SOUND_TASKS[kind])
        *path, last = place.split(".")
        node: Any = claim
        for part in path:
            node = node[int(part)] if part.isdigit() else node[part]
        if value is ABSENT:
            del node[last]
        else:
            node[last] = value
        with pytest.raises(BadClaim) as caught:
            parse_claim(claim)
        return caught.value

    return spoil


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """None, or what `strategy` makes."""
    return st.none() | strategy


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FILLED = TEXT.filter(lambda text: bool(text.replace("\0", "").strip()))
NAME = st.from_regex(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})?", fullmatch=True)
JOB_ID = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._:-]{0,40}", fullmatch=True)
UNIT = st.floats(0, 1)
SIDE = st.integers(1, 4_096)
URL = NAME.map(lambda name: f"https://studio.example/{name}")
LANGUAGE = st.sampled_from(["en", "pt-BR", "zh-Hans", "yue"])
HEX64 = st.text("0123456789abcdef", min_size=64, max_size=64)
FREE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FREE_OBJECT = st.dictionaries(TEXT, FREE_JSON, max_size=3)
NAMES = st.lists(NAME, max_size=4).map(tuple)


def made(model: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`model` from fields; one that comes out None is left away, so that it was never set."""
    return st.fixed_dictionaries(fields).map(
        lambda values: model(**{name: value for name, value in values.items() if value is not None})
    )


IMAGE = made(
    tasks.ImageTask,
    prompt=FILLED,
    negative_prompt=optional(TEXT),
    init_image_url=optional(URL),
    ref_image_url=optional(URL),
    denoise=optional(UNIT),
    cfg_scale=optional(st.floats(0, 100)),
    sampling_method=optional(st.sampled_from(tasks.SAMPLING_METHODS)),
    width=optional(SIDE),
    height=optional(SIDE),
    steps=optional(st.integers(1, 1_000)),
    seed=optional(st.integers(0, 2**64 - 1)),
    ext=optional(st.sampled_from(["webp", "png", "jpg", "jpeg", "gif"])),
)
MESSAGE = made(tasks.Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=TEXT)
LLM = made(
    tasks.LlmTask,
    messages=st.lists(MESSAGE, min_size=1, max_size=3).map(tuple),
    system=optional(TEXT),
    max_tokens=optional(st.integers(1, 1_000_000)),
    temperature=optional(st.floats(0, 10)),
    top_p=optional(UNIT),
    stop=optional(st.lists(FILLED, max_size=3).map(tuple)),
    json_schema=optional(st.just({"type": "object", "properties": {"a": {"type": ["null", "string"]}}})),
    reasoning=optional(FREE_JSON),
    chat_template_kwargs=optional(FREE_OBJECT),
)
STT = made(
    tasks.SttTask,
    input_url=URL,
    language=optional(LANGUAGE),
    translate=optional(st.booleans()),
    prompt=optional(TEXT),
    vad=optional(st.booleans()),
    timestamps=optional(st.sampled_from(["segment", "word"])),
)
TTS = made(
    tasks.TtsTask,
    text=FILLED,
    voice=optional(NAME),
    speed=optional(st.floats(0.1, 10)),
    language=optional(LANGUAGE),
    ext=optional(st.sampled_from(["wav", "mp3", "ogg", "flac"])),
)
VIDEO = made(
    tasks.VideoTask,
    prompt=FILLED,
    negative_prompt=optional(TEXT),
    init_image_url=optional(URL),
    seconds=optional(st.floats(0.1, 600)),
    fps=optional(st.integers(1, 240)),
    width=optional(SIDE),
    height=optional(SIDE),
    ext=optional(st.sampled_from(["mp4", "webm", "webp", "gif"])),
)
TASK = IMAGE | LLM | STT | TTS | VIDEO
FILE = made(
    model_source.ModelFile,
    role=NAME,
    url=URL,
    filename=NAME.filter(lambda name: not name.lower().startswith(("con", "prn", "aux", "nul", "com", "lpt"))),
    approx_bytes=optional(st.integers(0, 2**44)),
    sha256=optional(HEX64),
)
CLI_DEFAULTS = made(
    model_source.CliDefaults,
    cfg_scale=optional(st.floats(0, 100)),
    steps=optional(st.integers(0, 1_000)),
    width=optional(st.integers(0, 4_096)),
    height=optional(st.integers(0, 4_096)),
    sampling_method=optional(st.sampled_from(tasks.SAMPLING_METHODS)),
    flow_shift=optional(st.floats(0, 1_000)),
    zero_cond_t=optional(st.booleans()),
    offload_to_cpu=optional(st.booleans()),
    context_size=optional(st.integers(0, 2**20)),
    chat_template_kwargs=optional(FREE_OBJECT),
)
SOURCE = made(
    model_source.ModelSource,
    engine=NAME,
    files=st.lists(FILE, max_size=3, unique_by=lambda file: file.filename.casefold()).map(tuple),
    cli_defaults=CLI_DEFAULTS,
)
CLAIM = st.builds(
    Claim,
    job_id=JOB_ID,
    model=FILLED,
    task=TASK,
    source=SOURCE,
    vram_gb_estimate=st.floats(0, 100_000),
    game_id=TEXT,
    asset_name=TEXT,
    attempt=optional(st.integers(0, 1_000_000)),
)
CAPABILITIES = made(
    capabilities.Capabilities,
    machine_name=TEXT,
    username=TEXT,
    agent_version=TEXT,
    engine=optional(TEXT),
    vram_total_gb=st.floats(0, 1_000_000),
    vram_threshold_gb=st.floats(0, 1_000_000),
    auto_enabled=st.booleans(),
    auto_start=st.booleans(),
    supported_models=NAMES,
    task_kinds=NAMES,
    supported_models_per_kind=st.dictionaries(NAME, NAMES, max_size=3),
    sources=optional(st.dictionaries(NAME, NAMES, max_size=3)),
    max_concurrent_jobs=optional(st.integers(1, 1_024)),
)
REGISTER_REQUEST = made(
    registration.RegisterRequest,
    install_id=st.uuids().map(str),
    registration_secret_hash=HEX64,
    capabilities=CAPABILITIES,
    user_agent=TEXT,
)
ATTEMPT = optional(st.integers(0, 1_000_000))
LOG_ENTRY = made(
    frames.LogEntry,
    ts=st.just("2026-01-01T00:00:01.000Z"),
    level=st.sampled_from(["info", "warn", "error"]),
    category=TEXT,
    message=TEXT,
    job_id=optional(JOB_ID),
)
WORKER_FRAME = st.one_of(
    made(frames.Hello, auth_token=FILLED, capabilities=CAPABILITIES),
    made(
        frames.Heartbeat,
        capabilities=CAPABILITIES,
        current_job_id=optional(JOB_ID),
        current_job_ids=optional(st.lists(JOB_ID, max_size=3).map(tuple)),
        health=optional(FREE_OBJECT),
    ),
    made(frames.Accept, job_id=JOB_ID, attempt=ATTEMPT),
    made(frames.Reject, job_id=JOB_ID, reason=TEXT, code=optional(TEXT), attempt=ATTEMPT),
    st.builds(frames.CompleteJson, job_id=JOB_ID, result=FREE_JSON, prompt=optional(TEXT), attempt=ATTEMPT),
    made(frames.Fail, job_id=JOB_ID, error=TEXT, retryable=st.booleans(), attempt=ATTEMPT),
    made(frames.LogBatch, entries=st.lists(LOG_ENTRY, max_size=3).map(tuple)),
    made(
        frames.Progress,
        job_id=JOB_ID,
        step=st.integers(0, 2**53),
        total=st.integers(0, 2**53),
        stage=TEXT,
        preview=optional(NAME),
    ),
    st.just(frames.ReadyForMore()),
)
STUDIO_FRAME = st.one_of(
    made(frames.Welcome, worker_id=FILLED, server_time=TEXT, extensions=NAMES),
    JOB_ID.map(lambda job_id: frames.Offer(claim={**copy.deepcopy(SOUND_CLAIM), "jobId": job_id})),
    st.just(frames.HeartbeatAck()),
    made(frames.CompleteAck, job_id=JOB_ID),
    made(frames.FailAck, job_id=JOB_ID),
    made(frames.CancelJob, job_id=JOB_ID, reason=TEXT),
    made(frames.ErrorFrame, code=TEXT, message=TEXT),
)

for _type, _strategy in (
    (tasks.ImageTask, IMAGE),
    (tasks.LlmTask, LLM),
    (tasks.SttTask, STT),
    (tasks.TtsTask, TTS),
    (tasks.VideoTask, VIDEO),
    (model_source.ModelSource, SOURCE),
    (Claim, CLAIM),
    (capabilities.Capabilities, CAPABILITIES),
    (registration.RegisterRequest, REGISTER_REQUEST),
    (frames.Frame, WORKER_FRAME | STUDIO_FRAME),
):
    st.register_type_strategy(_type, _strategy)


@pytest.fixture(scope="session")
def within_reason():
    """A block that takes no more of the processor than a hundred times a simple loop of the same run."""

    def loop() -> float:
        begin = time.process_time()
        sum(range(1_000_000))
        return time.process_time() - begin

    floor = max(loop() for _ in range(3))

    @contextmanager
    def bounded():
        begin = time.process_time()
        yield
        assert time.process_time() - begin <= 100 * floor

    return bounded
