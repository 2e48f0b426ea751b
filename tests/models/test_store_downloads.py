from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from studio_worker.errors import FetchFailed, FetchRefused, ModelUnavailable
from studio_worker.models.files import LoadOptions
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.wire.model_source import ModelSource

from .formats.test_onnx import elsewhere, graph
from .hub import DATA, Hub, file_of, open_store, source_of


def source(hub: Hub, name: str = "a.bin", **more: object) -> ModelSource:
    return source_of(file_of(hub, name, **more))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_missing_file_is_downloaded_once_with_progress_that_only_grows(hub: Hub, root: Path) -> None:
    store = open_store(hub, root)
    told: list[tuple[int, int]] = []
    for _ in range(2):
        model = await store.provision(
            "m", source(hub, sha256=sha(DATA)), LoadOptions(), on_progress=lambda *numbers: told.append(numbers)
        )
    assert model.files["model"] == [root / "a.bin"]
    assert (root / "a.bin").read_bytes() == DATA
    assert hub.ranges == [None]
    assert told == sorted(told)
    assert told[-1] == (len(DATA), len(DATA))
    assert {path.name for path in root.iterdir()} <= {"a.bin", ".downloads"}
    await store.aclose()


@pytest.mark.parametrize("percent", [30, 60, 90])
async def test_a_download_that_is_cut_asks_only_for_what_is_missing(hub: Hub, root: Path, percent: int) -> None:
    hub.script = [("cut", len(DATA) * percent // 100)]
    store = open_store(hub, root)
    await store.provision("m", source(hub), LoadOptions())
    assert (root / "a.bin").read_bytes() == DATA
    first, second = hub.ranges
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(DATA) * percent // 100


async def test_a_file_that_changed_on_the_way_starts_over(hub: Hub, root: Path) -> None:
    hub.script = [("cut", len(DATA) // 2), ("status", 404)]
    with pytest.raises(FetchFailed):
        await open_store(hub, root).provision("m", source(hub), LoadOptions())
    hub.data, hub.etag = DATA[::-1], '"two"'
    await open_store(hub, root).provision("m", source(hub), LoadOptions())
    assert (root / "a.bin").read_bytes() == DATA[::-1]


async def test_an_error_page_in_the_middle_of_a_resume_is_never_written(hub: Hub, root: Path) -> None:
    hub.script = [("cut", len(DATA) // 2), ("status", 503)]
    await open_store(hub, root).provision("m", source(hub), LoadOptions())
    assert (root / "a.bin").read_bytes() == DATA
    assert len(hub.ranges) == 3


@pytest.mark.parametrize(
    ("status", "words"), [(401, "hf_token"), (403, "hf_token"), (404, "check the URL"), (451, "mirror")]
)
async def test_a_final_status_is_final_at_once_and_names_the_remedy(
    hub: Hub, root: Path, status: int, words: str
) -> None:
    hub.script = [("status", status)]
    with pytest.raises(FetchFailed, match=words) as error:
        await open_store(hub, root).provision("m", source(hub), LoadOptions())
    assert not error.value.retryable
    assert len(hub.ranges) == 1


async def test_a_wrong_hash_names_both_and_leaves_no_part(hub: Hub, root: Path) -> None:
    with pytest.raises(FetchFailed) as error:
        await open_store(hub, root).provision("m", source(hub, sha256="0" * 64), LoadOptions())
    assert sha(DATA) in str(error.value)
    assert "0" * 64 in str(error.value)
    assert not list(root.glob("*.part"))


async def test_a_file_of_another_size_is_refused_before_it_comes(hub: Hub, root: Path) -> None:
    with pytest.raises(FetchRefused, match="claim names about 100"):
        await open_store(hub, root).provision("m", source(hub, approxBytes=100), LoadOptions())
    assert not (root / "a.bin").exists()


async def test_a_login_page_is_no_model(hub: Hub, root: Path) -> None:
    hub.content_type = "text/html"
    with pytest.raises(FetchRefused, match="not a model: text/html"):
        await open_store(hub, root).provision("m", source(hub), LoadOptions())


async def test_two_jobs_that_want_one_file_make_one_transfer(hub: Hub, root: Path) -> None:
    store = open_store(hub, root)
    await asyncio.gather(*(store.provision("m", source(hub), LoadOptions()) for _ in range(3)))
    assert hub.ranges == [None]


async def test_another_file_of_that_name_is_kept_and_the_new_one_lies_apart(hub: Hub, root: Path) -> None:
    (root / "a.bin").write_bytes(b"other")
    model = await open_store(hub, root).provision("org/m", source(hub, sha256=sha(DATA)), LoadOptions())
    assert (root / "a.bin").read_bytes() == b"other"
    [path] = model.files["model"]
    assert path.parent.parent == root
    assert path.parent.name.startswith("org_m-")
    assert path.read_bytes() == DATA


async def test_an_offline_worker_asks_nobody(hub: Hub, root: Path) -> None:
    with pytest.raises(ModelUnavailable, match="models_offline = true"):
        await open_store(hub, root, settings={"is_offline": True}).provision("m", source(hub), LoadOptions())
    assert hub.ranges == []


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [
        ("a.safetensors", b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}." * 40, "pickle"),
        ("a.gguf", b"GGML" + bytes(100), "gguf"),
        ("a.onnx", b"\xff" * 100, "onnx"),
    ],
)
async def test_a_file_that_no_engine_should_open_never_gets_its_name(
    hub: Hub, root: Path, name: str, data: bytes, rule: str
) -> None:
    hub.data = data
    with pytest.raises(BadModelFile) as error:
        await open_store(hub, root).provision("m", source(hub, name), LoadOptions())
    assert error.value.rule == rule
    assert not error.value.retryable
    assert not (root / name).exists()
    assert not list(root.glob("*.part"))


async def test_weights_in_another_file_are_taken_where_the_claim_names_that_file_and_only_there(
    hub: Hub, root: Path
) -> None:
    root.mkdir(exist_ok=True)
    (root / "private.bin").write_bytes(b"the operator's own")
    hub.data = graph(weight=elsewhere("private.bin")).SerializeToString()
    store = open_store(hub, root)
    with pytest.raises(BadModelFile, match=r"'private\.bin', which is none of the model's files"):
        await store.provision("m", source(hub, "a.onnx"), LoadOptions())
    assert not (root / "a.onnx").exists()
    both = source_of(file_of(hub, "a.onnx"), file_of(hub, "private.bin", role="weights"))
    assert (await store.provision("m", both, LoadOptions())).files["model"] == [root / "a.onnx"]


async def test_a_body_without_an_end_stops_at_the_quota_and_nothing_goes_for_it(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, quota=2 * len(DATA))
    store.release(await store.provision("m", source(hub, "old.bin"), LoadOptions()))
    hub.endless.add("/a.bin")
    with pytest.raises(ModelUnavailable, match=f"models_quota_gb: .* do not fit into {2 * len(DATA):,}"):
        await store.provision("n", source(hub, sha256="0" * 64), LoadOptions())
    assert (root / "old.bin").exists()
    assert not list(root.glob("*.part"))
    assert len(hub.ranges) == 2
    await store.aclose()
