"""Input files of a caller of this process: named in the task, copied to where fetched inputs go."""

import asyncio
import os
import threading

import pytest

from studio_worker.errors import BadClaim, BadInput
from studio_worker.jobs import local_inputs
from studio_worker.jobs.inputs import fetch_inputs
from studio_worker.jobs.local_inputs import copy_in, name_inputs
from studio_worker.jobs.plan import Wanted
from studio_worker.wire.tasks import ImageTask, LlmTask, SttTask, VideoTask


class Nobody:
    """Must not be asked."""

    async def fetch(self, url, dest, *, limit_bytes, what):
        raise AssertionError(f"{url} was fetched")


@pytest.mark.parametrize("name", ["image", "init_image_url", "initImageUrl"])
def test_an_input_is_named_by_its_role_or_by_the_field_of_its_url(name, tmp_path):
    task, own = name_inputs(ImageTask(prompt="a cup", steps=4), {name: tmp_path / "a.png"})
    assert own == {"image": tmp_path / "a.png"}
    assert task.init_image_url == "local:image"
    assert task.model_fields_set == {"prompt", "steps", "init_image_url"}


def test_an_input_takes_the_place_of_the_url_that_the_task_carries(tmp_path):
    task, own = name_inputs(SttTask(input_url="https://files.example/a.wav"), {"audio": tmp_path / "a.wav"})
    assert (task.input_url, own) == ("local:audio", {"audio": tmp_path / "a.wav"})


def test_a_task_without_inputs_of_ones_own_stays_the_very_same():
    task = VideoTask(prompt="waves")
    assert name_inputs(task, {}) == (task, {})
    assert name_inputs(task, {})[0] is task


def test_an_input_that_the_kind_does_not_take_is_refused_with_those_that_it_takes(tmp_path):
    with pytest.raises(BadClaim, match=r"inputs: 'mask' is no input of kind video, which takes image"):
        name_inputs(VideoTask(prompt="waves"), {"mask": tmp_path})
    with pytest.raises(BadClaim, match="of kind llm, which takes no input files"):
        name_inputs(LlmTask(messages=({"role": "user", "content": "x"},)), {"audio": tmp_path})


def test_a_mask_without_its_picture_is_refused_as_a_studios_is(tmp_path):
    with pytest.raises(BadClaim, match=r"task\.maskUrl: needs initImageUrl"):
        name_inputs(ImageTask(prompt="a cup"), {"mask": tmp_path / "m.png"})


async def test_the_engine_gets_a_copy_where_fetched_inputs_lie(tmp_path):
    own, work = tmp_path / "mine.wav", tmp_path / "work"
    own.write_bytes(b"sound")
    work.mkdir()
    files = await fetch_inputs([Wanted("audio", "task.inputUrl", "local:audio", 5, own)], Nobody(), work)
    assert files == {"audio": work / "input-audio"}
    files["audio"].write_bytes(b"spoilt")
    assert own.read_bytes() == b"sound"


async def test_a_file_may_be_as_large_as_a_fetched_one_and_no_larger(tmp_path):
    own = tmp_path / "a.png"
    own.write_bytes(b"12345")
    await copy_in(own, tmp_path / "copy", limit_bytes=5, what="task.maskUrl")
    assert (tmp_path / "copy").read_bytes() == b"12345"
    with pytest.raises(BadInput, match=r"task\.maskUrl: .*a\.png is larger than 4 bytes") as caught:
        await copy_in(own, tmp_path / "other", limit_bytes=4, what="task.maskUrl")
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    ],
    ids=["absent", "folder", "pipe", "device"],
)
async def test_what_is_no_regular_file_is_refused_with_its_path(tmp_path, make, why):
    path = tmp_path / "input"
    make(path)
    async with asyncio.timeout(10):
        with pytest.raises(BadInput, match=rf"task\.inputUrl: {path} cannot be used: .*{why}"):
            await copy_in(path, tmp_path / "copy", limit_bytes=5, what="task.inputUrl")
    assert not (tmp_path / "copy").exists()


async def test_a_disk_that_takes_no_copy_is_not_the_callers_fault(tmp_path):
    own = tmp_path / "a.wav"
    own.write_bytes(b"sound")
    with pytest.raises(OSError, match="No such file"):
        await copy_in(own, tmp_path / "gone" / "copy", limit_bytes=10**6, what="task.inputUrl")


async def test_a_cancelled_copy_has_ended_when_its_caller_goes_on(tmp_path, monkeypatch):
    """Its reading stands at the first chunk until the cancellation is there."""
    own = tmp_path / "long.wav"
    own.write_bytes(b"x" * 64)
    begun, cancelled = threading.Event(), threading.Event()
    opened = local_inputs._opened

    class Slow:
        def __init__(self, path):
            self.file = opened(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def read(self, size):
            begun.set()
            cancelled.wait(10)
            return self.file.read(8)

    monkeypatch.setattr(local_inputs, "_opened", Slow)
    copying = asyncio.create_task(copy_in(own, tmp_path / "copy", limit_bytes=100, what="x"))
    await asyncio.to_thread(begun.wait, 10)
    copying.cancel()
    asyncio.get_running_loop().call_soon(cancelled.set)
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert (tmp_path / "copy").stat().st_size == 8
