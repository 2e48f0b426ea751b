from __future__ import annotations

import io
import pickle
import pickletools
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio_worker.models.formats import pickle_walk
from studio_worker.models.formats.pickle_walk import MAX_STEPS, may_import

STRING = b"X" + struct.pack("<I", 3) + b"abc"


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


def judged(data: bytes, size: int | None = None, **more: bool) -> bool:
    return may_import(data, len(data) if size is None else size, **more)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"N0",
        b"(1",
        b"(0",
        b"X" + struct.pack("<I", 70_000) + b"a" * 70_000 + b"0",
        b"V" + b"a" * 70_000 + b"\n0",
        b"\x8e" + struct.pack("<Q", 70_000) + b"a" * 70_000 + b"0",
        b"\x95" + struct.pack("<Q", 9),
        b"I0x10\n0",
        b"I119547037146038801333356\n.",
        b"N0" * 400,
    ],
    ids=lambda before: repr(before[:12]),
)
def test_a_pickle_is_seen_whatever_stands_before_it(before: bytes, protocol: int) -> None:
    assert judged(before + pickle.dumps([Evil(), {"a": 1}], protocol=protocol))


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n",
        b"cos\nsystem\n(S'true'\ntR",
        b"(ios\nsystem\n.",
        b"ios\nsystem\n",
        STRING * 2 + b"\x93",
        b"\x82\x01N\x85R",
    ],
)
def test_an_import_is_seen_though_the_pickle_does_not_end(data: bytes) -> None:
    assert judged(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"R",
        b"N",
        b"NR.",
        b"N.",
        b"(NNR",
        b"0cos\nsystem\n.",
        b"1cos\nsystem\n.",
        b"tcos\nsystem\n.",
        b"(ocos\nsystem\n.",
        b"(}ucos\nsystem\n.",
        b"T\xff\xff\xff\xffcos\nsystem\n.",
        b"X" + struct.pack("<I", 99) + b"cos\nsystem\n.",
        b"\x93",
        STRING + b"\x93",
        STRING + b"(" + STRING + b"\x93",
        b"\x82\x01",
        b"the\nand\nof\n",
        b"Value\nRed\n",
    ],
)
def test_what_ends_every_unpickler_before_it_imports_is_none(data: bytes) -> None:
    """Each is refused by Python's own with an error, and without a look for a name."""
    assert not judged(data)
    assert not asked_for(data)


@pytest.mark.parametrize(
    "data", [b"c\nsystem\n.", b"cno module\nsystem\n.", b"cos\n{}\n.", b"c" + b"a" * 300 + b"\nb\n."]
)
def test_what_no_module_is_called_is_no_import(data: bytes) -> None:
    assert not judged(data)


@pytest.mark.parametrize("words", [b"cat\ndog\nfox\n", b"ice\ncream\n", b"Vector\ncat\ndog\nfox\n"])
def test_a_list_of_words_imports_nothing(words: bytes) -> None:
    assert judged(words)
    assert not judged(words, is_word_list=True)


@pytest.mark.parametrize("data", [pickle.dumps(Evil(), 0), b"(ios\nsystem\n.", b"cos\nsystem\n.", STRING * 2 + b"\x93"])
def test_a_list_of_words_that_makes_something_of_one_is_a_pickle(data: bytes) -> None:
    assert judged(data, is_word_list=True)


def test_what_lies_behind_the_bytes_that_are_looked_at_is_taken_for_an_import() -> None:
    data = b"X" + struct.pack("<I", 500) + bytes(100)
    assert judged(data, 600)
    assert not judged(data, 400)
    assert judged(b"Vno end of the line", 30)
    assert not judged(b"Vno end of the line")


def test_a_walk_without_an_end_is_taken_for_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(b"N" * MAX_STEPS)
    assert not judged(b"N" * (MAX_STEPS - 1))
    monkeypatch.setattr(pickle_walk, "MAX_LINE", 100)
    assert judged(b"V" + b"a" * 200 + b"\n")


def asked_for(data: bytes) -> list[tuple[str, str]]:
    """What Python's own unpickler, the one in Python, would import; it gets nothing."""
    asked: list[tuple[str, str]] = []

    class Asking(pickle._Unpickler):  # type: ignore[name-defined,misc]  # its memo, unlike C's, is as large as it is full
        def find_class(self, module: str, name: str) -> Any:
            asked.append((module, name))
            raise pickle.UnpicklingError

    stream = io.BytesIO(data)
    try:
        while True:
            Asking(stream).load()
    except Exception:  # noqa: BLE001 - a damaged pickle may raise whatever it likes
        return asked


NAMES = st.sampled_from([b"os\nsystem\n", b"a.b\nc\n", b"_\n_\n"])
ARGUMENT = {
    0: st.just(b""),
    1: st.binary(min_size=1, max_size=1),
    2: st.binary(min_size=2, max_size=2),
    4: st.integers(0, 9).map(lambda number: struct.pack("<I", number)),
    8: st.integers(0, 99).map(lambda number: struct.pack("<Q", number)),
    pickletools.UP_TO_NEWLINE: st.sampled_from([b"1\n", b"0x1F\n", b"'a'\n", b"a\n", b"\n", b"00\n", b"1L\n"]),
    pickletools.TAKEN_FROM_ARGUMENT1: st.binary(max_size=5).map(lambda text: bytes([len(text)]) + text),
    pickletools.TAKEN_FROM_ARGUMENT4: st.binary(max_size=5).map(lambda text: struct.pack("<i", len(text)) + text),
    pickletools.TAKEN_FROM_ARGUMENT4U: st.binary(max_size=5).map(lambda text: struct.pack("<I", len(text)) + text),
    pickletools.TAKEN_FROM_ARGUMENT8U: st.binary(max_size=5).map(lambda text: struct.pack("<Q", len(text)) + text),
}


def operation(found: pickletools.OpcodeInfo) -> st.SearchStrategy[bytes]:
    number = 0 if found.arg is None else found.arg.n
    argument = NAMES if found.name in ("GLOBAL", "INST") else ARGUMENT[number]
    return argument.map(lambda more: found.code.encode("latin-1") + more)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(pickletools.opcodes).flatmap(operation), max_size=30).map(b"".join))
def test_whatever_python_itself_would_import_is_seen(data: bytes) -> None:
    for end in (b"", b"cos\nsystem\n", STRING * 2 + b"\x93"):
        if asked_for(data + end):
            assert judged(data + end)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_get_an_answer(data: bytes, size: int) -> None:
    assert judged(data, max(size, len(data))) in (True, False)
