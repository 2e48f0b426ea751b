"""Forms that no worker of ours would send: read, or refused with a status that says whose fault it is."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spoiled import damaged

from studio_worker.studio.answers import Refusal
from studio_worker.studio.timings import Limits
from studio_worker.studio.upload_form import UploadForm, read_form

PICTURE = bytes(range(256))
SOUND = (
    b'--xyz\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cup\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="image"; filename="j-1.png"\r\nContent-Type: image/png\r\n\r\n'
    + PICTURE
    + b'\r\n--xyz\r\nContent-Disposition: form-data; name="attempt"\r\n\r\n1\r\n--xyz--\r\n'
)
LIMITS = Limits(upload_bytes=2_000, upload_text_bytes=200, upload_parts=8)
FORM = "multipart/form-data; boundary=xyz"
LINES = [
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Type: multipart/mixed; boundary=q\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: x\r\n",
    b"Content-Disposition: form-data; name*=utf-8''%ff\r\n",
    b"no header at all\r\n",
    b"\xff: \xff\r\n",
    b"\0",
    b"A: " + b"x" * 9_000 + b"\r\n",
    b"X: y\r\n" * 200,
    b"--xyz\r\n" * 20,
    b"--xyz--\r\n",
]
"""What may stand where a line of a part's head begins."""


def read(folder: Path, body: bytes, content_type: str = FORM) -> UploadForm:
    async def now() -> UploadForm:
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        payload.feed_data(body)
        payload.feed_eof()
        request = make_mocked_request("POST", "/", headers={"Content-Type": content_type}, payload=payload)
        return await read_form(request, folder / "target", LIMITS, 10.0)

    with warnings.catch_warnings():
        # aiohttp warns of each strange Content-Disposition.
        warnings.simplefilter("ignore")
        return asyncio.run(now())


def check(folder: Path, body: bytes, content_type: str = FORM) -> None:
    try:
        form = read(folder, body, content_type)
    except Refusal as refused:
        status = refused.status
    else:
        status = 200
    assert status in (200, 400, 413)
    if status != 200:
        return
    assert form.size == (folder / "target").stat().st_size <= LIMITS.upload_bytes
    assert (folder / "target").read_bytes().startswith(form.head)
    assert set(form.texts) <= {"prompt", "ext", "generationMeta", "attempt"}
    assert all(len(text) <= LIMITS.upload_text_bytes for text in form.texts.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forms")


def test_a_sound_form_is_read(folder: Path) -> None:
    form = read(folder, SOUND)
    assert (form.size, form.head, form.texts) == (256, PICTURE[:64], {"prompt": "a cup", "attempt": "1"})
    assert (folder / "target").read_bytes() == PICTURE


@settings(deadline=None, print_blob=True)
@given(body=damaged(SOUND))
def test_a_damaged_form_is_read_within_its_bounds_or_refused(folder: Path, body: bytes) -> None:
    check(folder, body)


@settings(deadline=None, print_blob=True)
@given(lines=st.lists(st.sampled_from(LINES), min_size=1, max_size=2), part=st.integers(0, 2))
@example(lines=[b"no header at all\r\n"], part=0)
@example(lines=[b"A: " + b"x" * 9_000 + b"\r\n"], part=1)
@example(lines=[b"X: y\r\n" * 200], part=2)
def test_a_part_with_any_head_is_read_or_refused(folder: Path, lines: list[bytes], part: int) -> None:
    pieces = SOUND.split(b"Content-Disposition")
    pieces[part] += b"".join(lines)
    check(folder, b"Content-Disposition".join(pieces))


@settings(deadline=None, print_blob=True)
@given(
    content_type=st.sampled_from(["", "multipart/form-data", "multipart/", FORM + "; boundary=q", "text/plain"])
    | st.text(st.characters(codec="ascii", min_codepoint=32), max_size=90).map(
        lambda text: f"multipart/x; boundary={text}"
    )
)
def test_a_form_of_any_content_type_is_read_or_refused(folder: Path, content_type: Any) -> None:
    check(folder, SOUND, content_type)
