"""The two closed sets of messages between the worker and a child."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.framing import BrokenFrame
from studio_worker.engines.messages import (
    Cancel,
    Done,
    Down,
    Loaded,
    Log,
    Open,
    Progress,
    Ready,
    Run,
    Started,
    Up,
    read_down,
    read_up,
    to_json,
)

UP = [
    Ready(),
    Started(4, True),
    Loaded(4, 5, None),
    Progress(1, 2, 3, "run", None),
    Log(None, "INFO", "x", {}),
    Done(1, {"kind": "llm"}, {"a": [1]}),
]
DOWN = [Cancel(3), Run(1, {"id": "j"}, True), Open("m", {}, 0, "toy", 1, "cuda:1", False, ["/lib"], None)]
JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
)


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_what_a_child_says_is_read_again(message):
    assert read_up(to_json(message)) == message


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_what_a_worker_says_is_read_again(message):
    assert read_down(to_json(message)) == message


def test_no_message_goes_both_ways():
    assert not set(get_args(Up)) & set(get_args(Down))


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_a_child_may_not_say_what_a_worker_says(message):
    with pytest.raises(BrokenFrame, match="unknown type"):
        read_up(to_json(message))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"type": 5},
        {"type": "progress"},
        {"type": "progress", "run": True, "step": 1, "total": 1, "stage": "s", "preview": None},
        {"type": "progress", "run": 1, "step": 1.5, "total": 1, "stage": "s", "preview": None},
        {"type": "done", "run": 1, "result": [], "meta": {}},
        {"type": "log", "run": "1", "level": "INFO", "text": "", "fields": {}},
    ],
)
def test_a_message_of_the_wrong_types_is_refused(raw):
    with pytest.raises(BrokenFrame):
        read_up(raw)


@given(st.sampled_from(["ready", "done", "progress", "log", "failed", "x"]), st.dictionaries(st.text(), JSON))
def test_nothing_but_a_message_or_a_broken_frame_comes_of_a_strangers_object(kind, fields):
    try:
        assert type(read_up({**fields, "type": kind})) in get_args(Up)
    except BrokenFrame:
        pass
