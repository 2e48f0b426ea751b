"""llama.cpp behind the few calls that an answer needs: load, tokenise, read a prompt, go on by one token.

The library's own `Llama` class is left aside: it compiles a stranger's chat template in a sandbox without bounds, cuts
token texts at 32 bytes, and cannot be interrupted while it reads a prompt.
"""

from __future__ import annotations

import collections
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

from studio_worker import Cancelled, EngineError, OutOfMemory
from studio_worker_llama.placing import Placement

_START_LOCK = threading.Lock()
_said: collections.deque[str] = collections.deque(maxlen=20)
_is_started = False
_ERROR_LEVEL = 4
_ABORTED, _NO_MEMORY = 2, -2


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # the library has no types for it
def _listen(level: int, text: bytes, data: Any) -> None:
    # Hundreds of lines a load would fill disks; the last errors are what a sentence to the operator needs.
    if level == _ERROR_LEVEL:
        _said.append(text.decode("utf-8", "replace").strip())


def start_backend() -> None:
    """Start the library once in this process, with its log lines kept from stderr; for any thread."""
    global _is_started  # noqa: PLW0603 - the library is one for the whole process
    with _START_LOCK:
        if not _is_started:
            llama.llama_log_set(_listen, ctypes.c_void_p(0))
            llama.llama_backend_init()
            _is_started = True


def has_gpu_support() -> bool:
    """Whether the library was built for GPUs."""
    return bool(llama.llama_supports_gpu_offload())


class NativeModel:
    """A loaded model with one sequence of context.

    Args:
        path: the GGUF file, the first of several parts.
        context: tokens of context.
        batch: prompt tokens read at once.
        threads: CPU threads.
        placement: which layers go to which GPU.

    Raises:
        EngineError: the library does not take the file; another try helps only where a GPU is asked for.
        OutOfMemory: it does not fit.
    """

    def __init__(self, path: Path, *, context: int, batch: int, threads: int, placement: Placement) -> None:
        start_backend()
        _said.clear()
        self.closers: Any = None
        self._model: Any = None
        self._context: Any = None
        self._abort = llama.ggml_abort_callback(self._is_aborted)
        self._never = llama.ggml_abort_callback()
        self._is_cancelled: Callable[[], bool] = lambda: False
        self._read: list[int] = []
        self._read_as_prompt = 0
        self._first_logits: tuple[list[int], Any] | None = None
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0x7FFFFFFF if placement.gpu_layers < 0 else placement.gpu_layers
        if placement.gpu is not None:
            params.split_mode, params.main_gpu = llama.LLAMA_SPLIT_MODE_NONE, placement.gpu
        self._model = llama.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise _failure(f"{path.name} could not be loaded", is_retryable=placement.is_on_gpu)
        self.vocab = llama.llama_model_get_vocab(self._model)
        try:
            if llama.llama_model_has_encoder(self._model) or llama.llama_model_is_diffusion(self._model):
                raise EngineError(f"{path.name} is no model that answers token by token", retryable=False)
            self._make_context(context, batch, threads, is_on_gpu=placement.is_on_gpu)
        except BaseException:
            self.close()
            raise
        self.context = min(context, llama.llama_n_ctx(self._context))
        self.batch = min(batch, context)
        self.vocab_size = int(llama.llama_vocab_n_tokens(self.vocab))

    def _make_context(self, context: int, batch: int, threads: int, *, is_on_gpu: bool) -> None:
        params = llama.llama_context_default_params()
        # A library built for GPUs would lend one to a model on the CPU, and its memory.
        params.offload_kqv = params.op_offload = is_on_gpu
        params.n_ctx, params.n_batch, params.n_ubatch = context, min(batch, context), min(batch, context)
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self._context = llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise _failure(f"a context of {context:,} tokens could not be made", is_retryable=is_on_gpu)

    def close(self) -> None:
        """Give everything back; more than once is fine."""
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    @property
    def pointer(self) -> Any:
        """The library's context, for samplers."""
        return self._context

    @property
    def chat_template(self) -> str:
        """The template in the model's file, empty where there is none."""
        return (llama.llama_model_chat_template(self._model, None) or b"").decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """A token as its vocabulary writes it (``<bos>``), empty for none."""
        return llama.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def bos(self) -> int:
        """The token that begins a sequence, -1 for none."""
        return int(llama.llama_vocab_bos(self.vocab))

    @property
    def eos(self) -> int:
        """The token that ends a sequence, -1 for none."""
        return int(llama.llama_vocab_eos(self.vocab))

    def is_end(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def piece(self, token: int) -> bytes:
        """A token's bytes in an answer; none for control tokens."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def tokens(self, text: str) -> list[int]:
        """A prompt as tokens, its special ones understood; the one that begins a sequence stands there once."""
        data = text.encode()
        size = len(data) + 8
        buffer = (llama.llama_token * size)()
        count = llama.llama_tokenize(self.vocab, data, len(data), buffer, size, False, True)
        if count < 0:
            raise EngineError(f"the prompt of {len(data):,} bytes could not be tokenised", retryable=False)
        found = list(buffer[:count])
        bos = self.bos
        if bos < 0:
            return found
        while found[:2] == [bos, bos]:
            del found[0]
        if llama.llama_vocab_get_add_bos(self.vocab) and found[:1] != [bos]:
            found.insert(0, bos)
        return found

    def read_prompt(
        self, tokens: Sequence[int], *, is_cancelled: Callable[[], bool], on_read: Callable[[int], None]
    ) -> Any:
        """Read a whole prompt; the next token can be sampled then.

        What it has in common with the last prompt is kept in whole batches only: then every token is computed in the
        same company, whatever ran before, and the same seed gives the same answer.

        Args:
            tokens: the prompt, at least one.
            is_cancelled: asked while the library computes.
            on_read: told how many tokens are done.

        Returns:
            The logits after the last token.

        Raises:
            Cancelled: the job is to end.
        """
        wanted = list(tokens)
        if self._first_logits is not None and self._first_logits[0] == wanted and self._keep(len(wanted)):
            return self._first_logits[1]
        self._first_logits = None
        same = 0
        while same < min(len(wanted) - 1, self._read_as_prompt) and self._read[same] == wanted[same]:
            same += 1
        at = same // self.batch * self.batch
        if not self._keep(at):
            at = 0
        self._is_cancelled = is_cancelled
        llama.llama_set_abort_callback(self._context, self._abort, None)
        try:
            while at < len(wanted):
                on_read(at)
                piece = wanted[at : at + self.batch]
                self._decode(piece)
                at += len(piece)
                self._read_as_prompt = at
        finally:
            llama.llama_set_abort_callback(self._context, self._never, None)
            self._is_cancelled = lambda: False
        logits = self.logits().copy()
        self._first_logits = (wanted, logits)
        return logits

    def go_on(self, token: int) -> None:
        """Take one token of the answer into the context."""
        self._decode([token])

    def logits(self) -> Any:
        """The logits after the last token: float32, one a token of the vocabulary; valid until the next call."""
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(self._context, -1), shape=(self.vocab_size,))

    def _decode(self, tokens: list[int]) -> None:
        lent = (llama.llama_token * len(tokens))(*tokens)
        code = llama.llama_decode(self._context, llama.llama_batch_get_one(lent, len(tokens)))
        if code == 0:
            self._read += tokens
            return
        self._keep(0)
        if code == _ABORTED:
            raise Cancelled
        if code == _NO_MEMORY:
            raise OutOfMemory(f"llama.cpp found no memory for {len(tokens):,} tokens: {_last_words()}")
        raise _failure(f"llama.cpp could not go on (code {code})", is_retryable=True)

    def _keep(self, length: int) -> bool:
        """Forget all but the first tokens of the context; False where the model can only forget everything."""
        memory = llama.llama_get_memory(self._context)
        kept = length == len(self._read) or (length > 0 and llama.llama_memory_seq_rm(memory, 0, length, -1))
        if not kept:
            llama.llama_memory_clear(memory, True)
            length = 0
        self._read, self._read_as_prompt = self._read[:length], min(self._read_as_prompt, length)
        if length == 0:
            self._first_logits = None
        return bool(kept)

    def _is_aborted(self, data: Any) -> bool:
        return self._is_cancelled()


def _last_words() -> str:
    return ("; ".join(dict.fromkeys(_said)) or "llama.cpp says no more")[:600]


def _failure(doing: str, *, is_retryable: bool) -> EngineError:
    why = _last_words()
    sentence = f"{doing}: {why}"
    if any(word in why.lower() for word in ("alloc", "out of memory", "insufficient memory", "cudamalloc")):
        return OutOfMemory(sentence)
    return EngineError(sentence, retryable=is_retryable)
