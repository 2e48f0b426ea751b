from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from studio_worker.cli.jobs_watch import follow_to_end


class Script:
    """A studio whose jobs have moved on at each look; `pause` is the look's turn."""

    def __init__(self, *looks: dict[str, str]) -> None:
        self.looks = list(looks)
        self.pauses: list[float] = []
        self.asked: list[Collection[str] | None] = []

    def jobs(self, job_ids: Collection[str] | None = None) -> list[dict[str, Any]]:
        self.asked.append(job_ids)
        return [{"jobId": name, "state": state} for name, state in self.looks[0].items()]

    def pause(self, secs: float) -> None:
        self.pauses.append(secs)
        self.looks.pop(0)


def followed(script: Script, job_ids: list[str] | None = None) -> tuple[bool, list[tuple[Any, Any]]]:
    told: list[tuple[Any, Any]] = []

    def tell(job: Mapping[str, Any]) -> None:
        told.append((job["jobId"], job["state"]))

    return follow_to_end(script, job_ids, tell, pause=script.pause, interval_secs=0.5), told


def test_each_change_is_told_once() -> None:
    script = Script({"a": "queued"}, {"a": "queued"}, {"a": "claimed"}, {"a": "done"})
    assert followed(script) == (True, [("a", "queued"), ("a", "claimed"), ("a", "done")])
    assert script.pauses == [0.5, 0.5, 0.5]


def test_one_job_without_a_result_is_no_success() -> None:
    for end in ("failed", "cancelled"):
        assert followed(Script({"a": "done", "b": end}))[0] is False


def test_what_has_ended_already_needs_no_waiting() -> None:
    script = Script({"a": "done"})
    assert followed(script) == (True, [("a", "done")])
    assert script.pauses == []


def test_a_job_that_is_added_meanwhile_is_followed_too() -> None:
    script = Script({"a": "claimed"}, {"a": "done", "b": "queued"}, {"a": "done", "b": "done"})
    assert followed(script)[1][-1] == ("b", "done")


def test_only_the_named_jobs_are_asked_for() -> None:
    script = Script({"a": "done"})
    followed(script, ["a"])
    assert script.asked == [["a"]]


def test_a_studio_without_jobs_has_nothing_to_wait_for() -> None:
    assert followed(Script({})) == (True, [])
