"""What follows the end of a session: wait and try again, or give up. Rules only; nobody waits here."""

from __future__ import annotations

from random import Random

from studio_worker.errors import AuthFailed, DuplicateWorker, ReconnectBudgetSpent, WorkerDeleted
from studio_worker.session.ending import SessionEnded
from studio_worker.wire.frames import CloseCode

CAP_SECS = 30.0
ASK_AGAIN_SECS = (1.0, 10.0, 60.0)
"""Waits after a refused token: one bad deploy of a studio must not end a fleet (protocol section 3)."""

_REMEDY = "`studio-worker register --reset` forgets the registration, so that the next start asks for a new one"


class Reconnect:
    """Counts failures in a row; a session that was welcome for `settled_secs` wipes them out.

    Attributes:
        attempt: reconnects in a row so far.

    Args:
        studio: the studio's origin, for messages.
        attempts: reconnects in a row before giving up; 0 for ever.
        base_secs: the first wait; the later ones are its multiples.
        settled_secs: see above.
        rng: where the jitter comes from.
    """

    def __init__(self, *, studio: str, attempts: int, base_secs: float, settled_secs: float, rng: Random) -> None:
        self.attempt = 0
        self._refusals = 0
        self._studio = studio
        self._attempts = attempts
        self._base_secs = base_secs
        self._settled_secs = settled_secs
        self._rng = rng

    def after(self, ended: SessionEnded) -> float:
        """Seconds to wait before the next try.

        Raises:
            AuthFailed: the token was refused (401 or 4001) once more than `ASK_AGAIN_SECS` allows.
            DuplicateWorker: 4003.
            WorkerDeleted: 4004.
            ReconnectBudgetSpent: `attempts` reconnects in a row came to nothing.
        """
        if ended.welcome_secs is not None and ended.welcome_secs >= self._settled_secs:
            self.attempt = self._refusals = 0
        match ended.code:
            case CloseCode.DUPLICATE_WORKER:
                raise DuplicateWorker(
                    f"{self._studio}: another worker has connected with this worker's id; stop the other one. "
                    f"If this machine's state was copied from it: {_REMEDY}."
                )
            case CloseCode.WORKER_DELETED:
                raise WorkerDeleted(f"{self._studio} has deleted this worker: {_REMEDY}.")
            case CloseCode.AUTH_FAILED:
                return self._ask_again(ended)
            case _:
                return self._try_again(ended)

    def _ask_again(self, ended: SessionEnded) -> float:
        self._refusals += 1
        if self._refusals > len(ASK_AGAIN_SECS):
            raise AuthFailed(
                f"{self._studio} has refused this worker's token {self._refusals} times ({ended.reason}): {_REMEDY}."
            )
        return ASK_AGAIN_SECS[self._refusals - 1] * self._base_secs

    def _try_again(self, ended: SessionEnded) -> float:
        self.attempt += 1
        if self._attempts and self.attempt > self._attempts:
            raise ReconnectBudgetSpent(
                f"no session with {self._studio} after {self._attempts} reconnects in a row ({ended.reason}); "
                "ws_reconnect_attempts sets how many are made, 0 means for ever."
            )
        bound = min(CAP_SECS, self._base_secs * 2.0 ** min(self.attempt - 1, 32))
        # Enough spread that a fleet does not come back in one wave, and still the documented pace.
        return bound * self._rng.uniform(0.75, 1.0)
