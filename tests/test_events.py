from __future__ import annotations

import dataclasses
import inspect
import typing

import pytest

import studio_worker
from studio_worker import events
from studio_worker.event_bus import EventReader
from studio_worker.events import Event, JobAccepted, JobProgress, RegistrationChanged
from studio_worker.wire.kinds import TaskKind

KINDS = [kind for kind in vars(events).values() if inspect.isclass(kind) and issubclass(kind, Event)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_a_frozen_value_without_a_dict(kind):
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)


def test_any_event_is_one_of_the_union_that_a_reader_gives_to_type_checkers():
    assert set(typing.get_args(events.WorkerEvent)) == set(KINDS) - {Event}
    assert typing.get_type_hints(EventReader.__anext__)["return"] == events.WorkerEvent


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_public_and_says_what_it_means(kind):
    assert getattr(studio_worker, kind.__name__) is kind
    assert kind.__doc__


def test_an_event_cannot_be_changed_and_equals_its_like():
    event = RegistrationChanged("pending", "rr-1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.detail = "other"  # type: ignore[misc]
    assert event == RegistrationChanged("pending", "rr-1")
    assert len({event, RegistrationChanged("pending", "rr-1")}) == 1


def test_a_claim_refused_after_the_accept_has_no_engine():
    assert JobAccepted("j-9").engine == ""
    assert JobAccepted("j-9", TaskKind.LLM, "m", "llama", "local").origin == "local"


def test_progress_says_which_stage_it_is_of():
    assert (JobProgress("j", 1, 4).stage, JobProgress("j", 1, 4).preview) == ("run", None)
