"""llama.cpp itself, on small models that the tests write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np
import pytest
from studio_worker_llama import native as native_module
from studio_worker_llama.native import NativeModel, start_backend
from studio_worker_llama.placing import Placement

from studio_worker import Cancelled, EngineError, OutOfMemory

BATCH = 8


def opened(path: Path, **more: Any) -> NativeModel:
    given = {"context": 64, "batch": BATCH, "threads": 1, "placement": Placement(), **more}
    return NativeModel(path, **given)


def read(model: NativeModel, tokens: list[int], done: list[int] | None = None) -> Any:
    """The logits after a prompt; `done` gets where each batch began."""
    return model.read_prompt(
        tokens, is_cancelled=lambda: False, on_read=lambda at: None if done is None else done.append(at)
    )


@pytest.fixture
def model(tiny: Path) -> Iterator[NativeModel]:
    made = opened(tiny)
    yield made
    made.close()


@pytest.fixture
def broken_decode(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the library's decode end with a code, as it does where memory or a device fails."""
    return lambda code: monkeypatch.setattr(llama, "llama_decode", lambda *given: code)


def test_the_vocabulary_is_the_files_own(model: NativeModel) -> None:
    assert (model.bos, model.eos) == (1, 2)
    assert (model.token_text(1), model.token_text(2), model.token_text(-1)) == ("<s>", "</s>", "")
    assert model.is_end(2)
    assert not model.is_end(1)


def test_every_byte_is_a_token_and_control_tokens_are_no_text(model: NativeModel) -> None:
    assert [model.piece(3 + code) for code in range(256)] == [bytes([code]) for code in range(256)]
    assert (model.piece(0), model.piece(1), model.piece(2)) == (b"", b"", b"")


def test_a_token_of_any_length_comes_whole(gguf_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = "x" * 300
    model = opened(gguf_file(tmp_path / "long.gguf", words=[word]))
    assert model.piece(model.vocab_size - 1) == word.encode()
    model.close()


@pytest.mark.parametrize("text", ["Hello", "größer", "日本語", "🎉", "a\0b", "\x1b[2J", ""])
def test_a_text_becomes_tokens_and_the_tokens_the_text(model: NativeModel, text: str) -> None:
    tokens = model.tokens(text)
    assert tokens[:1] == [model.bos]
    assert b"".join(model.piece(token) for token in tokens) == text.encode()


def test_special_tokens_are_understood_in_a_prompt(model: NativeModel) -> None:
    assert model.tokens("<s>a</s>")[-1] == model.eos
    assert model.tokens("<s><s>a").count(model.bos) == 1


def test_a_model_whose_path_is_no_valid_utf_8_is_loaded(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"mod\xe8les")
    folder.mkdir()
    model = opened(shutil.copy(tiny, folder / "tiny.gguf"))
    model.close()


def test_a_model_without_a_first_token_gets_none(gguf_file: Any, tmp_path: Path) -> None:
    model = opened(gguf_file(tmp_path / "m.gguf", add_bos=False))
    assert model.bos not in model.tokens("a")
    model.close()


def test_a_prompt_is_read_in_batches(model: NativeModel) -> None:
    done: list[int] = []
    logits = read(model, list(range(10, 30)), done)
    assert done == [0, 8, 16]
    assert logits.shape == (model.vocab_size,)
    assert np.isfinite(logits).all()


def test_the_logits_that_are_handed_out_are_a_copy(model: NativeModel) -> None:
    first = read(model, [10, 11, 12])
    kept = first.copy()
    model.go_on(13)
    assert np.array_equal(first, kept)
    assert not np.array_equal(model.logits(), kept)


@pytest.mark.parametrize("before", [[], [10, 11], list(range(10, 40)), [*range(10, 26), 99, 98], list(range(50, 60))])
def test_a_prompt_gives_the_same_logits_whatever_was_read_before(tiny: Path, before: list[int]) -> None:
    wanted, fresh, used = list(range(10, 36)), opened(tiny), opened(tiny)
    if before:
        read(used, before)
        used.go_on(20)
    assert np.array_equal(read(used, wanted), read(fresh, wanted))
    fresh.close()
    used.close()


def test_what_a_prompt_shares_with_the_last_is_read_once_in_whole_batches(model: NativeModel) -> None:
    read(model, list(range(10, 30)))
    done: list[int] = []
    read(model, [*range(10, 28), 99], done)
    assert done == [16]


def test_the_very_same_prompt_is_not_read_again(model: NativeModel) -> None:
    first = read(model, list(range(10, 30)))
    model.go_on(40)
    done: list[int] = []
    assert np.array_equal(read(model, list(range(10, 30)), done), first)
    assert done == []


def test_what_was_answered_is_forgotten_before_the_next_prompt(model: NativeModel, tiny: Path) -> None:
    read(model, [10, 11, 12])
    for token in (20, 21, 22):
        model.go_on(token)
    read(model, [10, 11, 12])
    model.go_on(30)
    after_answer = model.logits().copy()
    fresh = opened(tiny)
    read(fresh, [10, 11, 12])
    fresh.go_on(30)
    assert np.array_equal(fresh.logits(), after_answer)
    fresh.close()


def test_reading_ends_where_the_job_is_cancelled_and_the_model_goes_on(model: NativeModel) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        model.read_prompt(list(range(10, 60)), is_cancelled=cancelled, on_read=lambda at: None)
    assert len(asked) > 3
    done: list[int] = []
    read(model, list(range(10, 20)), done)
    assert done[0] == 0


def test_a_prompt_is_not_asked_about_after_it_was_read(model: NativeModel) -> None:
    asked: list[int] = []
    model.read_prompt([10, 11], is_cancelled=lambda: bool(asked.append(1)), on_read=lambda at: None)
    before = len(asked)
    model.go_on(12)
    assert len(asked) == before > 0


def test_a_device_that_fails_while_decoding_is_worth_another_try(
    model: NativeModel, broken_decode: Callable[[int], None]
) -> None:
    broken_decode(-3)
    with pytest.raises(EngineError, match=r"llama\.cpp could not go on \(code -3\)") as error:
        read(model, [10, 11])
    assert error.value.retryable
    assert not isinstance(error.value, OutOfMemory)


def test_memory_that_runs_out_while_decoding_is_named(model: NativeModel, broken_decode: Callable[[int], None]) -> None:
    broken_decode(-2)
    with pytest.raises(OutOfMemory, match="found no memory for 2 tokens"):
        read(model, [10, 11])


def test_after_a_failure_nothing_half_read_is_kept(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = list(range(10, 30))
    expected = read(model, wanted).copy()
    with monkeypatch.context() as patch:
        patch.setattr(llama, "llama_decode", lambda *given: -3)
        with pytest.raises(EngineError):
            read(model, [*wanted[:16], 99])
    done: list[int] = []
    assert np.array_equal(read(model, wanted, done), expected)
    assert done == [0, 8, 16]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9.00 MiB on device 0: cudaMalloc failed", OutOfMemory),
        ("failed to allocate buffer for kv cache", OutOfMemory),
        ("insufficient memory (attempted to allocate 9 MB)", OutOfMemory),
        ("unknown model architecture: 'x'", EngineError),
    ],
)
def test_a_failure_is_told_by_the_librarys_last_words(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: type[EngineError]
) -> None:
    def refuse(path: bytes, params: Any) -> None:
        native_module._listen(4, line.encode(), None)

    start_backend()
    monkeypatch.setattr(llama, "llama_model_load_from_file", refuse)
    with pytest.raises(EngineError) as error:
        opened(tiny)
    assert type(error.value) is kind
    assert str(error.value) == f"tiny.gguf could not be loaded: {line}"


def test_lines_that_are_no_errors_are_not_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes, params: Any) -> None:
        for level in (1, 2, 3, 5):
            native_module._listen(level, b"chatter", None)

    start_backend()
    monkeypatch.setattr(llama, "llama_model_load_from_file", refuse)
    with pytest.raises(EngineError, match=r"tiny\.gguf could not be loaded: llama\.cpp says no more"):
        opened(tiny)


def test_a_cut_file_is_refused_by_name_and_for_good(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(tiny.read_bytes()[:-5_000])
    with pytest.raises(EngineError, match=r"cut\.gguf could not be loaded: ") as error:
        opened(tmp_path / "cut.gguf")
    assert not error.value.retryable
    assert str(tmp_path) not in str(error.value)


def test_a_model_that_reads_and_writes_apart_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "llama_model_has_encoder", lambda model: True)
    with pytest.raises(EngineError, match="no model that answers token by token") as error:
        opened(tiny)
    assert not error.value.retryable


def test_a_model_is_freed_where_its_context_cannot_be_made(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[Any] = []
    free = llama.llama_model_free
    monkeypatch.setattr(llama, "llama_init_from_model", lambda model, params: None)
    monkeypatch.setattr(llama, "llama_model_free", lambda model: freed.append(model) or free(model))
    with pytest.raises(EngineError, match="a context of 64 tokens could not be made"):
        opened(tiny)
    assert len(freed) == 1


def test_a_context_that_memory_does_not_hold_is_out_of_memory_and_a_smaller_one_is_made(tiny: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from studio_worker import OutOfMemory
from studio_worker_llama.native import NativeModel, start_backend
from studio_worker_llama.placing import Placement
start_backend()
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000, limits[1]))
how = dict(batch=32, threads=1, placement=Placement())
try:
    NativeModel(Path(sys.argv[1]), context=6_000_000, **how)
except OutOfMemory as error:
    print(error.retryable, error)
print(NativeModel(Path(sys.argv[1]), context=256, **how).context)
"""
    done = subprocess.run([sys.executable, "-c", code, tiny], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("True a context of 6,000,000 tokens could not be made: ")
    assert second == "256"


def test_a_closed_model_gives_its_memory_back(gguf_file: Any, tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    path = gguf_file(tmp_path / "m.gguf", context=1_000_000)
    opened(path, context=1_000).close()
    before = resident()
    model = opened(path, context=1_000_000)
    taken = resident() - before
    assert taken > 100_000_000
    model.close()
    model.close()
    assert resident() - before < taken / 3
