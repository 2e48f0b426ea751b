"""What is foretold of a job's inputs is what becomes of them: same verdict, same words."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given, settings
from hypothesis import strategies as st

from studio_worker.engines.host import Host
from studio_worker.engines.router import Routes
from studio_worker.errors import BadInput, FetchRefused, JobError
from studio_worker.events import JobDelivered
from studio_worker.fetch.guard import Guard
from studio_worker.jobs.input_outlook import InputOutlook, input_outlook
from studio_worker.jobs.plan import Wanted, draw
from studio_worker.testing.claims import image_claim, silence_url, stt_claim, video_claim

from .conftest import GateEngine, Wire, _open_room, picture

STRICT = Guard(own_origin="https://studio.example", closed=frozenset({("127.0.0.1", 4787)}))
OPEN = Guard(own_origin="http://127.0.0.1:1", allow_private=True, closed=frozenset({("127.0.0.1", 4787)}))

PAINTED = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
LARGER = f"data:image/png;base64,{base64.b64encode(picture(16, 16)).decode()}"
CARRIED = [PAINTED, LARGER, silence_url(), "data:", "data:,x", "data:image/png;base64,%%%", "DATA:text/plain,hello"]
ODD = [
    "",
    "ftp://a.example/x",
    "https://",
    "https://me:secret@a.example/x",
    "https://a.example/x y",
    "//a.example",
    "x",
]
HOSTS = [
    "files.example",
    "studio.example",
    "127.0.0.1",
    "localhost",
    "a.localhost",
    "2130706433",
    "0x7f.1",
    "[::1]",
    "[::ffff:10.0.0.1]",
    "10.0.0.1",
    "192.168.1.1",
    "169.254.1.1",
    "[fe80::1]",
    "169.254.169.254",
    "metadata.google.internal",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
]
PATHS = ["/x.png?token=secret", "/graphics/api/workers/w-1", "/"]
BUILT = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", ":1", ":22", ":4787", ":99999"]),
    st.sampled_from(PATHS),
)
URLS = st.one_of(BUILT, st.sampled_from(CARRIED), st.sampled_from(ODD))


class Nobody(AbstractResolver):
    """Knows no name, so that no test asks anybody."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        raise OSError(f"{host} is not known")

    async def close(self) -> None:
        """Nothing is held."""


def wanted(role: Any, url: str) -> Wanted:
    field = {"image": "task.initImageUrl", "mask": "task.maskUrl", "audio": "task.inputUrl"}[role]
    return Wanted(role, field, url, 1_000_000)


def of(*inputs: Wanted, guard: Guard = STRICT) -> list[tuple[str, str]]:
    return [(each.state, str(each.refusal or "")) for each in input_outlook(inputs, guard)]


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://127.0.0.1:9/x.png", "private-address"),
        ("https://10.0.0.1/x.png", "private-address"),
        ("https://localhost/x.png", "private-address"),
        ("https://169.254.1.1/x.png", "special-address"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("http://files.example/x.png", "plain-http"),
        ("https://127.0.0.1:4787/", "own-listener"),
        ("https://studio.example/graphics/api/workers", "studio-route"),
        ("file:///etc/passwd", "scheme"),
        ("data:image/png;base64,%%%", "data-url"),
    ],
)
def test_an_address_that_a_fetch_refuses_is_refused_by_the_same_rule(url: str, rule: str) -> None:
    (found,) = input_outlook([wanted("image", url)], STRICT)
    assert found.state == "refused"
    assert isinstance(found.refusal, FetchRefused)
    assert found.refusal.rule == rule


def test_what_may_be_asked_would_be_downloaded_and_what_is_carried_is_here() -> None:
    inputs = [wanted("image", "https://files.example/x.png"), wanted("audio", silence_url())]
    assert of(*inputs) == [("download", ""), ("here", "")]


def test_the_operator_may_allow_private_addresses() -> None:
    assert of(wanted("image", "http://10.0.0.1/x.png"), guard=OPEN) == [("download", "")]


def test_an_outlook_tells_neither_a_signature_nor_what_a_claim_carries() -> None:
    found = input_outlook([wanted("image", "https://files.example/x.png?sig=1"), wanted("mask", PAINTED)], STRICT)
    assert [each.url for each in found] == ["https://files.example/x.png", "data:"]


def test_a_carried_picture_that_is_none_is_refused_by_its_field() -> None:
    ((state, why),) = of(wanted("image", "data:,hello"))
    assert (state, why[:29]) == ("refused", "task.initImageUrl: not a pict")


def test_a_mask_of_another_size_is_refused_where_both_are_carried() -> None:
    found = input_outlook([wanted("image", PAINTED), wanted("mask", LARGER)], STRICT)
    assert [each.state for each in found] == ["here", "refused"]
    assert isinstance(found[1].refusal, BadInput)


def test_a_mask_is_not_measured_against_a_picture_that_is_elsewhere() -> None:
    found = of(wanted("image", "https://files.example/x.png"), wanted("mask", LARGER))
    assert found == [("download", ""), ("here", "")]


@st.composite
def claims(draw_: Any) -> dict[str, Any]:
    """A claim of a kind that has inputs, each from anywhere."""
    url, other = draw_(URLS), draw_(st.one_of(st.none(), URLS))
    claim_fields = {"engine": "gate"}
    made = {
        "image": image_claim("job-1", claim_fields=claim_fields, initImageUrl=url),
        "mask": image_claim("job-1", claim_fields=claim_fields, initImageUrl=url, maskUrl=other),
        "ref": image_claim("job-1", claim_fields=claim_fields, refImageUrl=url, initImageUrl=other),
        "video": video_claim("job-1", claim_fields=claim_fields, initImageUrl=url),
        "stt": stt_claim("job-1", claim_fields=claim_fields, inputUrl=url),
    }
    found: dict[str, Any] = made[draw_(st.sampled_from(sorted(made)))]
    return found


async def first_of(*awaited: Coroutine[Any, Any, object]) -> None:
    waiting = [asyncio.create_task(each) for each in awaited]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)


@settings(deadline=None, max_examples=120)
@given(claims(), st.sampled_from([STRICT, OPEN]))
def test_the_outlook_is_what_a_live_job_meets(raw: dict[str, Any], guard: Guard) -> None:
    told, found = asyncio.run(lived(raw, guard))
    if found is None:
        return
    refusals = [each.refusal for each in found if each.refusal is not None]
    downloads = any(each.state == "download" for each in found)
    # Pictures are looked into once all are there, and nobody is asked here.
    if refusals and not (downloads and isinstance(refusals[0], BadInput)):
        assert told == str(refusals[0])
    elif not downloads:
        assert told is None
    else:
        assert told is not None
        assert "could not be fetched" in told


async def lived(raw: dict[str, Any], guard: Guard) -> tuple[str | None, list[InputOutlook] | None]:
    """The error that a job comes to, None where it is done; and what is foretold, None where the claim is no plan."""
    host = Host([], given=[GateEngine()])
    try:
        plan = draw(raw, Routes.build(host.descriptions), device=lambda _: None, rng=Random(7))
    except JobError:
        return None, None
    with TemporaryDirectory() as folder:
        async with _open_room(Path(folder), guard=guard, resolver=Nobody()) as room:
            wire = Wire()
            room.offer(wire, raw)
            ends = [wire.until("fail"), wire.until("completeJson"), room.events.until(JobDelivered)]
            await first_of(*ends)
            told = next((frame.error for frame in wire.of("fail")), None)
    return told, list(input_outlook(plan.inputs, guard))
