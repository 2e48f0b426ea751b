"""What hello and heartbeat say, without a socket."""

from __future__ import annotations

from studio_worker.clock import SystemClock
from studio_worker.session.ending import SessionEnded
from studio_worker.session.heartbeats import Heartbeats
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.set_aside import SetAside
from studio_worker.wire.capabilities import Capabilities

from .conftest import RecordingDesk

ADVERT = Capabilities(
    machine_name="rig-1",
    task_kinds=("image", "llm"),
    supported_models=("a", "b", "c"),
    vram_total_gb=24.0,
    vram_threshold_gb=12.0,
    max_concurrent_jobs=2,
)


def heartbeats(desk: RecordingDesk, *, shy: bool = False) -> Heartbeats:
    aside = SetAside(SystemClock(), 300.0)
    for _ in range(3 if shy else 0):
        aside.ended(SessionEnded("1009", 1009, is_breach=True))
    return Heartbeats(lambda: ADVERT, desk, aside, LogShipper(SystemClock()))


def test_hello_carries_the_token_and_no_extension() -> None:
    hello = heartbeats(RecordingDesk()).hello("token-1")

    assert hello.auth_token == "token-1"
    assert hello.capabilities == ADVERT.model_copy(update={"max_concurrent_jobs": None})


def test_a_paused_worker_takes_no_offers() -> None:
    beat = heartbeats(RecordingDesk(is_paused=True)).beat(())

    assert beat.capabilities.auto_enabled is False


def test_a_worker_whose_offers_break_the_link_takes_none() -> None:
    assert heartbeats(RecordingDesk(), shy=True).beat(()).capabilities.auto_enabled is False
    assert heartbeats(RecordingDesk()).beat(()).capabilities.auto_enabled is True


def test_the_current_job_is_named() -> None:
    desk = RecordingDesk(current_job_id="a", current_job_ids=("a", "b"))

    assert heartbeats(desk).beat(()).current_job_id == "a"
    assert heartbeats(desk).beat(()).current_job_ids is None
    assert heartbeats(desk).beat({"capacity"}).current_job_ids == ("a", "b")
    assert heartbeats(desk).beat({"capacity"}).capabilities.max_concurrent_jobs == 2


def test_no_health_is_sent_where_nobody_knows_it() -> None:
    assert heartbeats(RecordingDesk()).beat({"health"}).health is None


def test_the_summary_names_kinds_models_and_memory() -> None:
    assert heartbeats(RecordingDesk()).summary() == (
        "advertising image, llm by 3 model names, 24.0 GB of video memory, jobs up to 12.0 GB"
    )
    assert heartbeats(RecordingDesk(is_paused=True)).summary().endswith(", paused")
