"""Numbers that follow from a text."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.synthetic.digest import Dice, hexdigest


def test_parts_are_told_apart():
    assert hexdigest("a", "bc") != hexdigest("ab", "c") != hexdigest("abc")


def test_a_digest_is_sha256_of_lengths_and_texts():
    assert hexdigest("é") == hashlib.sha256((2).to_bytes(8, "big") + "é".encode()).hexdigest()


def test_a_text_that_utf_8_cannot_carry_has_a_digest():
    assert len(hexdigest("\ud800")) == 64


@given(st.text(), st.integers(1, 65_536))
def test_dice_stay_below_their_limit(seed, limit):
    dice = Dice(hexdigest(seed))
    assert all(0 <= dice.below(limit) < limit for _ in range(50))


@given(st.text(), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_between_stay_between(seed, one, two):
    low, high = sorted((one, two))
    value = Dice(hexdigest(seed)).between(low, high)
    assert low - 1e-6 <= value <= high + 1e-6


def test_the_same_seed_throws_the_same():
    assert [Dice("x").below(100) for _ in range(3)] == [Dice("x").below(100) for _ in range(3)]


@pytest.mark.parametrize("limit", [2, 6, 10])
def test_all_numbers_come_up(limit):
    dice = Dice("seed")
    assert {dice.below(limit) for _ in range(500)} == set(range(limit))
