"""Settlements: what each answer means, as protocol section 5 says."""

import random
from datetime import UTC, datetime

import pytest

from studio_worker.jobs.settlement import Again, Answer, Done, Gone, NotOurs, Refused, SignedOut, settle

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def settled(status, tries=1, **fields):
    return settle(Answer(status=status, **fields), tries, now=NOW, rng=random.Random(1))


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_done(status):
    assert settled(status) == Done()


def test_401_waits_for_the_session():
    assert settled(401) == SignedOut()


def test_404_is_the_end_of_the_result():
    assert isinstance(settled(404), Gone)
    assert not settled(404).is_done


def test_409_done_means_that_the_studio_has_a_result():
    assert settled(409, reason="done").is_done


def test_409_cancelled_is_the_end_of_the_result():
    assert isinstance(settled(409, reason="cancelled"), Gone)
    assert not settled(409, reason="cancelled").is_done


@pytest.mark.parametrize("reason", [None, "other", "DONE", "whatever"])
def test_409_for_another_reason_keeps_the_result(reason):
    assert isinstance(settled(409, reason=reason), NotOurs)


@pytest.mark.parametrize("status", [None, 301, 302, 307, 308, 407, 408, 425, 429, 500, 502, 503, 504, 599])
def test_what_another_try_may_cure_is_tried_again(status):
    found = settled(status)
    assert isinstance(found, Again)
    assert 0 < found.after_secs <= 1


@pytest.mark.parametrize("status", [400, 402, 403, 405, 410, 413, 415, 422, 451])
def test_other_client_errors_fail_the_job_by_their_status(status):
    found = settled(status, text="too big\x1b[2J")
    assert isinstance(found, Refused)
    assert str(status) in found.error
    assert "too big\\x1b[2J" in found.error


def test_a_web_page_is_no_studios_word_that_it_has_the_result():
    found = settled(200, is_page=True)
    assert isinstance(found, Again)
    assert "a web page came" in found.why


def test_a_refusal_without_a_word_is_told_by_its_status_alone():
    assert settled(413).error == "the studio refused the result with status 413"


def test_a_refusals_text_is_bounded():
    assert len(settled(400, text="x" * 10_000).error) < 500


def test_a_retry_after_is_honoured():
    assert settled(429, retry_after="120").after_secs == 120


def test_a_retry_after_of_nonsense_gives_our_own_backoff():
    assert settled(503, retry_after="-1").after_secs <= 1


def test_waits_grow_with_the_tries():
    assert settled(503, tries=10).after_secs > settled(503, tries=1).after_secs
