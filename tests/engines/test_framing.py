"""The pipe between the worker and a child."""

import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import studio_worker
from studio_worker.engines.framing import MAX_FRAME_BYTES, BrokenFrame, FrameReader, pack, read_frame
from studio_worker.version import CHILD_PROTOCOL

HOME = Path(studio_worker.__file__).parents[1]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
BROKEN = [
    b"\0",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
    b"\0\0\0\x05{}",
    b"\0\0\0\x02[]",
    b"\0\0\0\x02{1",
    b"\0\0\0\x02\xff\xfe",
    b"HTTP/1.1 200 OK\r\n\r\n",
    len(b"[" * 100_000).to_bytes(4, "big") + b"[" * 100_000,
]


def received(data: bytes, size: int) -> list[dict]:
    """What a reader makes of `data` in pieces of `size` bytes."""
    reader = FrameReader()
    found = [message for start in range(0, len(data), size) for message in reader.feed(data[start : start + size])]
    reader.close()
    return found


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_packed_is_read_again(message):
    assert read_frame(io.BytesIO(pack(message))) == message


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4)), st.integers(1, 200))
def test_what_is_packed_is_received_again_however_it_is_cut(messages, size):
    assert received(b"".join(map(pack, messages)), size) == messages


def test_messages_follow_one_another():
    pipe = io.BytesIO(pack({"a": 1}) + pack({"b": 2}))
    assert [read_frame(pipe), read_frame(pipe), read_frame(pipe)] == [{"a": 1}, {"b": 2}, None]


def test_the_end_between_two_messages_is_no_error():
    assert received(b"", 1) == []
    assert received(pack({"a": 1}), 1) == [{"a": 1}]


def test_a_message_that_comes_before_a_broken_frame_is_read():
    reader = FrameReader()
    pieces = reader.feed(pack({"a": 1}) + b"\xff\xff\xff\xff")
    assert next(pieces) == {"a": 1}
    with pytest.raises(BrokenFrame):
        next(pieces)


def test_a_frame_of_a_huge_length_reserves_nothing():
    tracemalloc.start()
    reader = FrameReader()
    with pytest.raises(BrokenFrame):
        list(reader.feed((2**31).to_bytes(4, "big") + b"x" * 1_000))
    list(FrameReader().feed(MAX_FRAME_BYTES.to_bytes(4, "big") + b"x"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:20]))
def test_what_is_no_frame_is_told_from_one_by_the_reader(data):
    with pytest.raises(BrokenFrame):
        read_frame(io.BytesIO(data))


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:20]))
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_what_is_no_frame_is_told_from_one_by_the_receiver(data, size):
    with pytest.raises(BrokenFrame):
        received(data, size)


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(BrokenFrame, match="too long"):
        pack({"text": "x" * MAX_FRAME_BYTES})


def test_numbers_that_are_not_finite_are_not_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack({"n": float("nan")})


# the child, spoken to without the worker


def start_child() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "studio_worker.engines.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        start_new_session=True,
    )


def request(value: str, path: list[str]) -> bytes:
    message = {"type": "describe", "value": value, "table": {}, "is_factory": False, "path": path, "pythonpath": None}
    return pack(message | {"protocol": CHILD_PROTOCOL})


def test_a_child_answers_one_request_and_leaves_when_the_pipe_ends(shop):
    module = shop.engine("alpha")
    with start_child() as child:
        child.stdin.write(request(module, [str(shop.folder), *sys.path]))
        child.stdin.flush()
        answer = read_frame(child.stdout)
        assert (answer["type"], answer["engines"][0]["name"]) == ("described", "alpha")
        child.stdin.close()
        assert child.wait(30) in (0, -9)


def test_a_child_whose_worker_never_asks_leaves_quietly():
    with start_child() as child:
        child.stdin.close()
        assert child.wait(30) == 0
        assert child.stderr.read() == b""


def test_what_a_plugin_prints_does_not_reach_the_answers(shop):
    module = shop.make("loud", "import os\nprint('to stdout')\nos.write(1, b'raw')\nraise OSError('done')")
    with start_child() as child:
        child.stdin.write(request(module, [str(shop.folder), *sys.path]))
        child.stdin.flush()
        assert read_frame(child.stdout) == {"type": "refused", "reason": "OSError: done (plugin_loud.py, line 4)"}
        child.stdin.close()
        child.wait(30)
        assert b"raw" in child.stderr.read()


def test_a_plugin_that_reads_stdin_reads_nothing(shop):
    module = shop.make("reader", "import sys\nraise OSError(repr(sys.stdin.read()))")
    with start_child() as child:
        child.stdin.write(request(module, [str(shop.folder), *sys.path]))
        child.stdin.flush()
        assert read_frame(child.stdout)["reason"] == "OSError: '' (plugin_reader.py, line 2)"
        child.stdin.close()


def test_a_plugin_does_not_see_how_the_child_found_its_own_package(shop):
    module = shop.make("curious", "import os, json\nraise OSError(json.dumps(os.environ.get('PYTHONPATH')))")
    with start_child() as child:
        child.stdin.write(request(module, [str(shop.folder), *sys.path]))
        child.stdin.flush()
        assert read_frame(child.stdout)["reason"] == "OSError: null (plugin_curious.py, line 2)"
        child.stdin.close()
