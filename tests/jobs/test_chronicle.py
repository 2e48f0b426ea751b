"""What is told of jobs, to whom."""

import pytest

from studio_worker.errors import BadInput, EngineError
from studio_worker.events import JobAccepted, JobDelivered, JobFailed
from studio_worker.jobs.chronicle import Chronicle


@pytest.fixture
def chronicle(events, clock):
    return Chronicle(events, events, clock)


def test_an_offer_and_what_became_of_it_go_to_the_studios_log(chronicle, events):
    chronicle.offered("job-1", "taken")
    chronicle.rejected("job-2", "the worker is busy")
    assert events.lines == [
        ("info", "offered: taken", "job-1"),
        ("info", "offered: rejected, the worker is busy", "job-2"),
    ]
    assert events.events == []


def test_a_job_without_a_plan_is_accepted_all_the_same(chronicle, events):
    chronicle.accepted("job-1", None)
    assert events.of(JobAccepted) == [JobAccepted("job-1")]
    assert events.lines[0][2] == "job-1"


def test_a_delivery_tells_seconds_and_bytes(chronicle, events, clock, kept_json):
    clock.advance(2.5)
    chronicle.delivered(kept_json(size=77))
    assert events.of(JobDelivered) == [JobDelivered("job-1", 2.5, 77)]
    assert events.lines == [("info", "delivered after 2.50 s", "job-1")]


def test_a_failure_tells_its_error_on_one_bounded_line(chronicle, events, clock):
    clock.advance(3)
    chronicle.failed("job-1", BadInput("line\nforged \x1b[2J" + "x" * 10_000), 1_000.0)
    (failed,) = events.of(JobFailed)
    assert failed.error.startswith("line\\nforged \\x1b[2J")
    assert len(failed.error) < 5_000
    assert (failed.retryable, failed.seconds) == (False, 3)
    assert events.lines[0][1].startswith("failed (final): line\\nforged")


def test_a_failure_says_whether_another_try_may_help(chronicle, events):
    chronicle.failed("job-1", EngineError("broke"), 1_000.0)
    assert events.lines == [("error", "failed (another try may help): broke", "job-1")]


def test_a_local_job_is_no_matter_of_the_studios_log(chronicle, events, kept_json):
    chronicle.delivered(kept_json(origin="local"))
    chronicle.failed("local-1", BadInput("no"), 1_000.0, origin="local")
    assert len(events.events) == 2
    assert events.lines == []


def test_a_result_that_waits_says_why(chronicle, events, kept_json):
    chronicle.waits(kept_json(), "the studio answered 503")
    assert events.lines == [("warn", "the result waits: the studio answered 503", "job-1")]
    assert events.events == []
