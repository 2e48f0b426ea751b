"""How the next token is chosen: by chance as the task says, within a grammar where there is one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import llama_cpp as llama
import numpy as np

from studio_worker import EngineError
from studio_worker_llama.native import NativeModel
from studio_worker_llama.settings import Settings

_CANDIDATE = np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
_CLOSERS = b'"a}],:0123456789'
"""What ends things first: a quote, else a text that must be longer gets an "a", else brackets."""
_PRINTABLE = 95
_MAX_CLOSING = 4_096
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
    """Keeps an answer within a grammar, and knows at any time how to end it in the fewest steps.

    Args:
        model: whose tokens they are.
        grammar: GBNF with the rule ``root``.
        stops: texts that the answer must not hold.

    Raises:
        EngineError: the library cannot read the grammar.
    """

    def __init__(self, model: NativeModel, grammar: str, stops: tuple[str, ...] = ()) -> None:
        self._model = model
        self._stops = tuple(stop.encode() for stop in stops)
        self._keep = max(map(len, self._stops), default=0)
        self._text = b""
        self._grammar = llama.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        if not self._grammar:
            raise EngineError(
                "task.jsonSchema makes a grammar that llama.cpp cannot read: simplify it", retryable=False
            )
        self._closers = _closing_tokens(model)

    def close(self) -> None:
        """Give it back."""
        if self._grammar:
            llama.llama_sampler_free(self._grammar)
            self._grammar = None

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with this token."""
        return bool(_allowed(self._grammar, [token])) and not self._completes_stop(token)

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
            if not self._completes_stop(token):
                return token
            candidates["logit"][candidates["id"] == token] = -np.inf
        return None

    def accept(self, token: int) -> None:
        """Go on with an allowed token."""
        llama.llama_sampler_accept(self._grammar, token)
        self._text = (self._text + self._model.piece(token))[-self._keep :] if self._keep else b""

    def closing(self, after: int | None = None) -> list[int] | None:
        """Tokens that end the answer from here, or from after one more token; None where none were found."""
        copy = llama.llama_sampler_clone(self._grammar)
        text, tokens = self._text, list[int]()
        try:
            if after is not None:
                llama.llama_sampler_accept(copy, after)
                text += self._model.piece(after)
            while len(tokens) <= _MAX_CLOSING:
                allowed = set(_allowed(copy, self._closers.tokens))
                if self._closers.end in allowed:
                    return tokens
                token = next(
                    (t for t in self._closers.tokens if t in allowed and not self._completes_stop(t, text)), None
                )
                if token is None:
                    return None
                llama.llama_sampler_accept(copy, token)
                text = (text + self._model.piece(token))[-1_000:]
                tokens.append(token)
            return None
        finally:
            llama.llama_sampler_free(copy)

    def _completes_stop(self, token: int, text: bytes | None = None) -> bool:
        if not self._stops:
            return False
        whole = (self._text if text is None else text) + self._model.piece(token)
        return any(stop in whole for stop in self._stops)


@dataclass(frozen=True, slots=True)
class _Closers:
    """A token that ends an answer, and the tokens of one character each, those that end things first."""

    end: int
    tokens: list[int]


def _closing_tokens(model: NativeModel) -> _Closers:
    if model.closers is None:
        model.closers = _find_closers(model)
    closers: _Closers = model.closers
    return closers


def _find_closers(model: NativeModel) -> _Closers:
    found: dict[int, int] = {}
    end = model.eos if model.eos >= 0 and model.is_end(model.eos) else -1
    for token in range(model.vocab_size):
        if end < 0 and model.is_end(token):
            end = token
        piece = model.piece(token)
        if len(piece) == 1 and 32 <= piece[0] < 127:
            found.setdefault(piece[0], token)
            if len(found) == _PRINTABLE and end >= 0:
                break
    if end < 0:
        raise EngineError("the model has no token that ends an answer, so it cannot keep to a schema", retryable=False)
    order = [*_CLOSERS, *(code for code in sorted(found, reverse=True) if code not in _CLOSERS)]
    return _Closers(end, [end, *(found[code] for code in order if code in found)])


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
