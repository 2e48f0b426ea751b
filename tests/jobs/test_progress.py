"""Where progress goes, and how fast."""

import asyncio
import io
import random
from types import SimpleNamespace

import pytest
from PIL import Image

from studio_worker.jobs.links import ClaimLink, LocalLink
from studio_worker.jobs.previews import MAX_BYTES, MAX_SOURCE_BYTES, is_small, shrunk
from studio_worker.jobs.progress import LinkProgress
from studio_worker.wire.results import sniff_ext


def noise(side, fmt, **options):
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(out, fmt, **options)
    return out.getvalue()


@pytest.fixture
def ticket(wire):
    return SimpleNamespace(job_id="job-1", link=ClaimLink(wire, "job-1"), latest=None)


@pytest.fixture
def followed(make_wire):
    wire = make_wire("progress")
    return SimpleNamespace(job_id="job-1", link=ClaimLink(wire, "job-1"), latest=None, wire=wire)


async def test_every_report_goes_to_events(ticket, events):
    relay = LinkProgress(ticket, events)
    for step in range(3):
        relay(step, 3, "run", None)
    assert [event.step for event in events.events] == [0, 1, 2]
    assert ticket.latest.step == 2


async def test_a_studio_that_does_not_know_progress_gets_none(ticket, events, wire):
    LinkProgress(ticket, events)(1, 2, "run", None)
    assert wire.types == []


async def test_the_first_report_goes_at_once_and_the_next_not_before_its_time(followed, events):
    relay = LinkProgress(followed, events, interval_secs=60)
    for step in range(10):
        relay(step, 10, "run", None)
    assert [frame.step for frame in followed.wire.frames] == [0]
    relay.close()


async def test_what_waited_is_replaced_by_what_came_later(followed, events):
    relay = LinkProgress(followed, events, interval_secs=0.02)
    for step in range(10):
        relay(step, 10, "run", None)
    await followed.wire.until("progress", count=2)
    assert [frame.step for frame in followed.wire.frames] == [0, 9]


async def test_frames_keep_their_distance(followed, events):
    relay = LinkProgress(followed, events, interval_secs=0.05)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while loop.time() - begin < 0.22:
        relay(1, 2, "run", None)
        await asyncio.sleep(0.001)
    relay.close()
    assert 2 <= len(followed.wire.frames) <= 5


async def test_nothing_is_sent_once_it_is_closed(followed, events):
    relay = LinkProgress(followed, events, interval_secs=0.01)
    relay(1, 3, "run", None)
    relay(2, 3, "run", None)
    relay.close()
    relay(3, 3, "run", None)
    await asyncio.sleep(0.03)
    assert [frame.step for frame in followed.wire.frames] == [1]
    assert [event.step for event in events.events] == [1, 2]


async def test_an_adopted_job_reports_on_its_new_link(followed, events, make_wire):
    relay = LinkProgress(followed, events, interval_secs=0)
    relay(1, 3, "run", None)
    second = make_wire("progress")
    followed.link = ClaimLink(second, "job-1")
    relay(2, 3, "run", None)
    assert [frame.step for frame in second.frames] == [2]


async def test_a_local_caller_gets_every_report(events):
    seen = []
    ticket = SimpleNamespace(job_id="l", link=LocalLink(lambda *report: seen.append(report)), latest=None)
    relay = LinkProgress(ticket, events, interval_secs=60)
    relay(1, 2, "run", b"png")
    relay(2, 2, "run", None)
    assert seen == [(1, 2, "run", b"png"), (2, 2, "run", None)]


async def test_a_small_preview_goes_as_it_is(followed, events, make_picture):
    preview = make_picture(ext="JPEG")
    LinkProgress(followed, events)(1, 2, "run", preview)
    assert followed.wire.frames[0].preview


async def test_a_large_preview_is_made_small_first(followed, events):
    LinkProgress(followed, events)(1, 2, "run", noise(400, "PNG"))
    frame = await followed.wire.until("progress")
    assert 0 < len(frame.preview) <= 44_000


async def test_a_preview_that_is_no_picture_is_left_out(followed, events):
    LinkProgress(followed, events)(1, 2, "run", b"no picture" * 10)
    assert (await followed.wire.until("progress")).preview is None


async def test_a_preview_that_is_ready_after_the_end_is_dropped(followed, events):
    relay = LinkProgress(followed, events)
    relay(1, 2, "run", noise(400, "PNG"))
    relay.close()
    await asyncio.sleep(0.1)
    assert followed.wire.types == []


async def test_what_came_while_a_preview_was_made_small_goes_next(followed, events):
    relay = LinkProgress(followed, events, interval_secs=0.01)
    relay(1, 3, "run", noise(400, "PNG"))
    relay(2, 3, "run", None)
    await followed.wire.until("progress", count=2)
    assert [frame.step for frame in followed.wire.frames] == [1, 2]


class TestPreviews:
    def test_of_jpeg_and_webp_may_go_as_they_are(self, make_picture):
        assert is_small(make_picture(ext="JPEG"))
        assert is_small(make_picture(ext="WEBP"))

    def test_of_other_formats_or_sizes_may_not(self, make_picture):
        assert not is_small(make_picture(ext="PNG"))
        assert not is_small(noise(300, "JPEG", quality=95))

    @pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF", "JPEG"])
    def test_are_made_small_jpegs(self, fmt):
        small = shrunk(noise(600, fmt))
        assert len(small) <= MAX_BYTES
        assert sniff_ext(small) == "jpg"

    def test_that_are_no_pictures_cannot_be_made_small(self):
        assert shrunk(b"\x89PNG\r\n\x1a\n" + bytes(40)) is None

    def test_that_are_huge_are_not_even_looked_at(self, make_picture):
        assert shrunk(make_picture() + bytes(MAX_SOURCE_BYTES)) is None
