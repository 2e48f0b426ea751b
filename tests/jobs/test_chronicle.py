"""What is told of jobs, to whom."""

import asyncio

import pytest

from studio_worker.errors import BadInput, EngineError
from studio_worker.events import JobAccepted, JobDelivered, JobFailed, JobProgress
from studio_worker.jobs.chronicle import Chronicle, in_a_moment


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


class TestWhatIsToldSoon:
    @pytest.fixture
    def moments(self):
        return []

    @pytest.fixture
    def patient(self, events, clock, moments):
        return Chronicle(events, events, clock, soon=moments.append)

    def test_waits_for_its_moment_and_keeps_its_order(self, patient, events, moments, kept_json):
        patient.offered("job-1", "taken")
        patient.accepted("job-1", None)
        patient.delivered(kept_json())
        assert events.events == events.lines == []
        (moment,) = moments
        moment()
        assert [type(event) for event in events.events] == [JobAccepted, JobDelivered]
        assert [line[1].split(":")[0] for line in events.lines] == [
            "offered",
            "accepted, though it cannot be run",
            "delivered after 0.00 s",
        ]

    def test_is_told_before_what_is_told_at_once(self, patient, events):
        patient.accepted("job-1", None)
        patient.emit(JobProgress("job-1", 1, 2))
        patient.accepted("job-2", None)
        patient.failed("job-2", BadInput("no"), 1_000.0)
        assert [type(event) for event in events.events] == [JobAccepted, JobProgress, JobAccepted, JobFailed]

    def test_measures_a_delivery_when_it_happens(self, patient, events, clock, moments, kept_json):
        patient.delivered(kept_json())
        clock.advance(9)
        moments[0]()
        assert events.of(JobDelivered)[0].seconds == 0.0


async def test_the_moment_comes_after_the_answers_of_now():
    told = asyncio.Event()
    order = []
    in_a_moment(lambda: (order.append("told"), told.set()))
    for turn in range(5):
        order.append(turn)
        await asyncio.sleep(0)
    await asyncio.wait_for(told.wait(), 20)
    assert order == [0, 1, 2, 3, 4, "told"]
