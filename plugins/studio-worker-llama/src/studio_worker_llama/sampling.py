"""How the next token is chosen: by chance as the task says, within a grammar where there is one."""

from __future__ import annotations

import codecs
import ctypes
from dataclasses import dataclass
from typing import Any

import llama_cpp as llama
import numpy as np

from studio_worker import EngineError
from studio_worker_llama.closers import closers_of
from studio_worker_llama.json_grammar import Grammar
from studio_worker_llama.native import NativeModel
from studio_worker_llama.settings import Settings

_CANDIDATE = np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
MAX_CLOSING = 4_096
"""Tokens of the longest end that is looked for."""

_MAX_REFUSALS = 256


class Sampler:
    """Chooses tokens; the same seed chooses the same.

    Args:
        model: where the logits come from.
        temperature: 0 for always the likeliest.
        top_p: choose among the likeliest that make up this share, None for all.
        seed: any whole number; the library takes 32 bits of it.
        settings: the operator's `top_k` and `min_p`.
    """

    def __init__(
        self, model: NativeModel, *, temperature: float, top_p: float | None, seed: int, settings: Settings
    ) -> None:
        self._model = model
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        links = []
        if temperature <= 0:
            links.append(llama.llama_sampler_init_greedy())
        else:
            if settings.top_k:
                links.append(llama.llama_sampler_init_top_k(settings.top_k))
            if top_p is not None and top_p < 1:
                links.append(llama.llama_sampler_init_top_p(top_p, 1))
            if settings.min_p:
                links.append(llama.llama_sampler_init_min_p(settings.min_p, 1))
            links.append(llama.llama_sampler_init_temp(temperature))
            # The largest 32-bit number would mean "any seed".
            links.append(llama.llama_sampler_init_dist(seed % (2**32 - 1)))
        for link in links:
            llama.llama_sampler_chain_add(self._chain, link)

    def close(self) -> None:
        """Give it back."""
        if self._chain:
            llama.llama_sampler_free(self._chain)
            self._chain = None

    def sample(self) -> int:
        """The next token after what the model has read last."""
        return int(llama.llama_sampler_sample(self._chain, self._model.pointer, -1))

    def choose(self, candidates: Any) -> int:
        """One of the candidates, a structured array of id, logit and p."""
        array = _token_array(candidates)
        llama.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def sample_from(self, logits: Any) -> int:
        """The next token by the logits given."""
        return self.choose(_candidates(logits))


class JsonGuide:
    """Keeps an answer within a grammar, and knows at any time how to end it in few steps.

    Args:
        model: whose tokens they are.
        grammar: what the answer must keep to.
        stops: texts that the answer must not hold.

    Raises:
        EngineError: the library cannot read the grammar.
    """

    def __init__(self, model: NativeModel, grammar: Grammar, stops: tuple[str, ...] = ()) -> None:
        self._model = model
        self._stops = tuple(stop.encode() for stop in stops if stop)
        self._keep = max(map(len, self._stops), default=0)
        self._reach = grammar.reach
        self._so_far = _SoFar()
        self._grammar = llama.llama_sampler_init_grammar(model.vocab, grammar.text.encode(), b"root")
        if not self._grammar:
            raise EngineError(
                "task.jsonSchema makes a grammar that llama.cpp cannot read: simplify it", retryable=False
            )
        self._closers = closers_of(model)

    def close(self) -> None:
        """Give it back."""
        if self._grammar:
            llama.llama_sampler_free(self._grammar)
            self._grammar = None

    def must_watch(self, left: int) -> bool:
        """Whether with so many tokens left each step has to be held against the way to the end."""
        return bool(self._stops) or left <= self._reach + 1

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with this token."""
        return bool(_allowed(self._grammar, [token])) and self._fits(token, self._so_far) is not None

    def choose(self, sampler: Sampler, logits: Any) -> int | None:
        """A token within the grammar by the sampler's lot; None where no allowed one is free of stop texts."""
        candidates = _candidates(logits)
        array = _token_array(candidates)
        llama.llama_sampler_apply(self._grammar, ctypes.byref(array))
        for _ in range(_MAX_REFUSALS):
            allowed = candidates[np.isfinite(candidates["logit"])]
            if not len(allowed):
                return None
            token = sampler.choose(allowed.copy())
            if self._fits(token, self._so_far) is not None:
                return token
            candidates["logit"][candidates["id"] == token] = -np.inf
        return None

    def accept(self, token: int) -> None:
        """Go on with an allowed token."""
        llama.llama_sampler_accept(self._grammar, token)
        self._so_far = self._fits(token, self._so_far) or self._so_far

    def closing(self, after: int | None = None) -> list[int] | None:
        """Tokens that end the answer from here, or from after one more token; None where none were found."""
        copy = llama.llama_sampler_clone(self._grammar)
        so_far, tokens = self._so_far, list[int]()
        try:
            if after is not None:
                llama.llama_sampler_accept(copy, after)
                so_far = self._fits(after, so_far) or so_far
            while len(tokens) <= MAX_CLOSING:
                allowed = set(_allowed(copy, self._closers.tokens))
                for token in self._closers.in_order(allowed):
                    following = self._fits(token, so_far)
                    if following is not None:
                        break
                else:
                    return None
                if token == self._closers.end:
                    return tokens
                llama.llama_sampler_accept(copy, token)
                so_far = following
                tokens.append(token)
            return None
        finally:
            llama.llama_sampler_free(copy)

    def _fits(self, token: int, so_far: _SoFar) -> _SoFar | None:
        """What there is after the token; None where its bytes are no text here, or complete a stop text.

        The grammar looks at code points only, so that it takes a letter spelt in too many bytes, and at the names of
        control tokens, which are no part of an answer.
        """
        if self._model.is_end(token):
            return None if so_far.half else so_far
        piece = self._model.piece(token)
        text = so_far.tail + piece
        if not piece or any(stop in text for stop in self._stops):
            return None
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(so_far.half + piece)
        except UnicodeDecodeError:
            return None
        half = decoder.getstate()[0]
        # Python's decoder waits for the third byte before it refuses a surrogate.
        if half[:1] == b"\xed" and half[1:2] >= b"\xa0":
            return None
        return _SoFar(text[-self._keep :] if self._keep else b"", half)


@dataclass(frozen=True, slots=True)
class _SoFar:
    """The end of an answer: as much as a stop text may begin in, and the bytes of a character that is not whole yet."""

    tail: bytes = b""
    half: bytes = b""


def _allowed(grammar: Any, tokens: list[int]) -> list[int]:
    candidates = np.zeros(len(tokens), dtype=_CANDIDATE)
    candidates["id"] = tokens
    array = _token_array(candidates)
    llama.llama_sampler_apply(grammar, ctypes.byref(array))
    return [int(token) for token in candidates["id"][np.isfinite(candidates["logit"])]]


def _candidates(logits: Any) -> Any:
    candidates = np.zeros(len(logits), dtype=_CANDIDATE)
    candidates["id"] = np.arange(len(logits), dtype=np.intc)
    candidates["logit"] = logits
    return candidates


def _token_array(candidates: Any) -> Any:
    return llama.llama_token_data_array(
        data=candidates.ctypes.data_as(llama.llama_token_data_p), size=len(candidates), selected=-1, sorted=False
    )
