"""How long to wait before another try: pure functions of the attempt, with randomness handed in."""

from __future__ import annotations

from random import Random

BASE_SECS = 1.0
CAP_SECS = 30.0
RETRY_AFTER_CAP_SECS = 600.0
"""The longest wait that an answer may ask for; what is beyond it counts as this much."""


def full_jitter(tries: int, rng: Random, *, base_secs: float = BASE_SECS, cap_secs: float = CAP_SECS) -> float:
    """Seconds to wait after `tries` failed tries: anywhere from a twentieth to the whole of a doubling bound.

    The spread keeps a fleet that failed together from coming back together; the floor keeps one unlucky draw from
    hammering a studio that has just said no.

    Args:
        tries: failed tries so far, from 1.
        rng: where the jitter comes from.
        base_secs: the bound after the first try.
        cap_secs: the bound that doubling stops at.
    """
    bound = min(cap_secs, base_secs * 2.0 ** min(max(tries, 1) - 1, 32))
    return bound * rng.uniform(0.05, 1.0)
