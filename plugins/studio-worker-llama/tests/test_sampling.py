"""How tokens are chosen, on logits that the tests make up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from studio_worker_llama.json_grammar import Grammar, json_grammar
from studio_worker_llama.sampling import MAX_CLOSING, JsonGuide, Sampler
from studio_worker_llama.settings import Settings

from studio_worker import EngineError

OPEN = Settings(top_k=0, min_p=0)


@pytest.fixture
def native(loaded: Any) -> Any:
    return loaded.native


@pytest.fixture
def logits(native: Any) -> Any:
    """Everything is unlikely but four tokens, each half as likely as the one before."""
    made = np.full(native.vocab_size, -30.0, np.float32)
    for number, token in enumerate((40, 30, 20, 10)):
        made[token] = 5 - number * np.log(2)
    return made


Draws = Callable[..., Counter[int]]


@pytest.fixture
def draws(native: Any, logits: Any) -> Draws:
    """How often each token is chosen in 400 tries."""

    def draw(*, temperature: float = 1.0, top_p: float | None = None, settings: Settings = OPEN, seed: int = 3) -> Any:
        with closing(Sampler(native, temperature=temperature, top_p=top_p, seed=seed, settings=settings)) as sampler:
            return Counter(sampler.sample_from(logits) for _ in range(400))

    return draw


@pytest.fixture
def guide(native: Any) -> Iterator[Callable[..., JsonGuide]]:
    """Makes guides of a schema."""
    made: list[JsonGuide] = []

    def make(schema: Any, *stops: str) -> JsonGuide:
        made.append(JsonGuide(native, json_grammar(schema), stops))
        return made[-1]

    yield make
    for each in made:
        each.close()


def token_of(native: Any, character: str) -> int:
    return next(token for token in range(259, native.vocab_size) if native.piece(token) == character.encode())


def write(guide: JsonGuide, native: Any, text: str) -> None:
    for character in text:
        token = token_of(native, character)
        assert guide.allows(token), character
        guide.accept(token)


def ending(guide: JsonGuide, native: Any, after: int | None = None) -> str | None:
    tokens = guide.closing(after)
    return None if tokens is None else b"".join(map(native.piece, tokens)).decode()


def test_temperature_zero_takes_the_likeliest(draws: Draws) -> None:
    assert draws(temperature=0) == {40: 400}


def test_at_temperature_one_tokens_come_as_often_as_they_are_likely(draws: Draws) -> None:
    counts = draws()
    assert set(counts) == {40, 30, 20, 10}
    assert counts[40] / 400 == pytest.approx(8 / 15, abs=0.08)
    assert counts[10] / 400 == pytest.approx(1 / 15, abs=0.05)


def test_a_higher_temperature_evens_the_odds(draws: Draws) -> None:
    assert draws(temperature=5.0)[40] < draws(temperature=1.0)[40] < draws(temperature=0.4)[40]


@pytest.mark.parametrize(
    ("top_p", "tokens"), [(0.5, {40}), (0.7, {40, 30}), (0.9, {40, 30, 20}), (1.0, {40, 30, 20, 10})]
)
def test_top_p_leaves_the_likeliest_that_make_up_the_share(draws: Draws, top_p: float, tokens: set[int]) -> None:
    assert set(draws(top_p=top_p)) == tokens


@pytest.mark.parametrize(("top_k", "tokens"), [(1, {40}), (2, {40, 30}), (0, {40, 30, 20, 10})])
def test_the_operators_top_k_leaves_so_many(draws: Draws, top_k: int, tokens: set[int]) -> None:
    assert set(draws(settings=Settings(top_k=top_k, min_p=0))) == tokens


@pytest.mark.parametrize(("min_p", "tokens"), [(0.6, {40}), (0.3, {40, 30}), (0.2, {40, 30, 20})])
def test_the_operators_min_p_leaves_what_is_likely_enough(draws: Draws, min_p: float, tokens: set[int]) -> None:
    assert set(draws(settings=Settings(top_k=0, min_p=min_p))) == tokens


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**63])
def test_the_same_seed_draws_the_same(native: Any, logits: Any, seed: int) -> None:
    def drawn(number: int) -> list[int]:
        with closing(Sampler(native, temperature=1.0, top_p=None, seed=number, settings=OPEN)) as sampler:
            return [sampler.sample_from(logits) for _ in range(30)]

    assert drawn(seed) == drawn(seed)
    assert drawn(seed) != drawn(seed + 1)


def test_closing_a_sampler_twice_is_fine(native: Any) -> None:
    sampler = Sampler(native, temperature=1.0, top_p=0.9, seed=1, settings=Settings())
    sampler.close()
    sampler.close()


@pytest.mark.parametrize(
    ("schema", "begun", "end"),
    [
        ({"type": "string"}, "", '""'),
        ({"type": "string"}, '"ab', '"'),
        ({"type": "string"}, '"a\\', '""'),
        ({"type": "string"}, '"a\\u00', 'aa"'),
        ({"type": "string", "minLength": 3}, '"x', 'aa"'),
        ({"type": "integer", "minimum": 300, "maximum": 999}, "", "300"),
        ({"type": "integer"}, "-", "0"),
        ({"type": "number"}, "1.", "0"),
        ({"type": "boolean"}, "", "true"),
        ({"type": "null"}, "nu", "ll"),
        ({"type": "array", "items": {"type": "string"}}, "[", "]"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1", ",0]"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 50}}}, "{", "}"),
        ({"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "required": ["b"]}, "{", '"b":""}'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"x', '":0}'),
        ({}, "", '""'),
        ({}, '[{"a":[', "]}]"),
        ({"enum": ["}", "}x"]}, '"}', '"'),
    ],
)
def test_an_answer_is_brought_to_a_short_end_from_anywhere(
    guide: Any, native: Any, schema: Any, begun: str, end: str
) -> None:
    made = guide(schema)
    write(made, native, begun)
    assert ending(made, native) == end


def test_the_end_after_one_more_token_is_told_without_taking_it(guide: Any, native: Any) -> None:
    made = guide({"type": "array", "items": {"type": "string"}})
    assert ending(made, native, token_of(native, "[")) == "]"
    assert ending(made, native) == "[]"


@pytest.mark.parametrize(
    ("schema", "begun"),
    [
        ({"type": "string", "minLength": 30, "maxLength": 90}, '"'),
        ({"type": "array", "items": {"const": "abc"}, "minItems": 5}, "["),
        ({"properties": {"a": {"type": "string", "minLength": 40}}}, '{"a":"'),
        ({"anyOf": [{"type": "boolean"}, {"enum": ["a long text that is long"]}]}, '"a'),
        ({"type": "object", "properties": {"é": {"format": "uuid", "type": "string"}}}, '{"\\u00'),
        ({"type": "number", "minimum": -100_000, "maximum": 100_000}, "-"),
    ],
)
def test_no_answer_is_farther_from_its_end_than_the_grammar_says(
    guide: Any, native: Any, schema: Any, begun: str
) -> None:
    made = guide(schema)
    reach = json_grammar(schema).reach
    for character in begun:
        assert len(made.closing() or []) <= reach
        write(made, native, character)
    assert 0 < len(made.closing() or []) <= reach


def test_steps_are_watched_from_as_far_as_the_grammar_reaches(guide: Any) -> None:
    reach = int(json_grammar({"type": "string"}).reach)
    made = guide({"type": "string"})
    assert made.must_watch(reach + 1)
    assert not made.must_watch(reach + 2)
    assert guide({}).must_watch(10_000)
    assert guide({"type": "string"}, "stop").must_watch(10_000)


def test_an_end_never_holds_a_stop_text(guide: Any, native: Any) -> None:
    made = guide({"type": "string", "minLength": 2}, '""', "aa")
    end = ending(made, native)
    assert end is not None
    assert len(end) == 4
    assert '""' not in end
    assert "aa" not in end


@pytest.mark.parametrize(("schema", "stop"), [({"type": "string"}, '"'), ({"const": 12}, "2"), ({"minItems": 1}, "[")])
def test_where_stop_texts_leave_no_way_there_is_no_end(guide: Any, schema: Any, stop: str) -> None:
    assert guide(schema, stop).closing() is None


def test_an_end_of_thousands_of_tokens_is_not_looked_for(guide: Any) -> None:
    text = {"type": "string", "minLength": 1_000}
    assert guide({"prefixItems": [text] * (MAX_CLOSING // 1_000 + 1), "items": False}).closing() is None


def test_a_stop_text_is_not_completed_by_any_token(guide: Any, native: Any) -> None:
    made = guide({"type": "string"}, "no")
    write(made, native, '"n')
    assert not made.allows(token_of(native, "o"))
    assert made.allows(token_of(native, "n"))
    write(made, native, "x")
    assert made.allows(token_of(native, "o"))


def test_a_choice_falls_on_what_the_grammar_allows(guide: Any, native: Any, logits: Any) -> None:
    logits[token_of(native, "t")] = -20
    with closing(Sampler(native, temperature=1.0, top_p=None, seed=1, settings=OPEN)) as sampler:
        assert guide({"const": True}).choose(sampler, logits) == token_of(native, "t")


def test_a_choice_passes_over_what_would_complete_a_stop_text(guide: Any, native: Any, logits: Any) -> None:
    logits[token_of(native, "t")] = 9
    with closing(Sampler(native, temperature=0, top_p=None, seed=1, settings=OPEN)) as sampler:
        token = guide({"type": "boolean"}, "t").choose(sampler, logits)
        assert native.piece(token) == b"f"
        assert guide({"const": True}, "t").choose(sampler, logits) is None


def test_a_finished_answer_goes_on_with_its_end_only(guide: Any, native: Any) -> None:
    made = guide({"const": 1})
    assert not made.allows(native.eos)
    write(made, native, "1")
    assert made.allows(native.eos)
    assert made.closing() == []
    assert not made.allows(token_of(native, "1"))


def test_a_grammar_that_cannot_be_read_is_refused(native: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match=r"task\.jsonSchema makes a grammar that llama\.cpp cannot read") as error:
        JsonGuide(native, Grammar("root ::= nowhere\n", 1.0))
    assert not error.value.retryable
    assert capfd.readouterr().out == ""


def test_a_model_that_never_ends_an_answer_cannot_keep_to_a_schema(
    native: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "closers", None)
    monkeypatch.setattr(type(native), "is_end", lambda self, token: False)
    with pytest.raises(EngineError, match="no token that ends an answer"):
        JsonGuide(native, json_grammar({"type": "null"}))
