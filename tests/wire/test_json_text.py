"""The fast writer writes what the strict one does, and leaves to it what it must not write."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.wire import strict_json
from studio_worker.wire.json_text import write

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(PLAIN | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


@given(VALUES)
def test_what_is_written_is_read_back_as_it_was(value):
    assert strict_json.loads(write({"value": value})) == {"value": value}


@given(VALUES)
def test_the_text_means_what_the_strict_writer_says(value):
    assert json.loads(write(value)) == json.loads(strict_json.dumps(value))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "a NaN in a sentence"])
def test_a_text_that_looks_like_no_number_is_written(word):
    assert json.loads(write({word: word})) == {word: word}


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": -math.inf}])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(value)


def test_what_json_does_not_know_is_refused():
    with pytest.raises(TypeError):
        write({"a": object()})


def test_a_line_stays_short_and_letters_stay_letters():
    assert write({"a": ["é", 1.0, None]}) == '{"a":["é",1.0,null]}'
