"""Downloads of model files: resumed, checked, tried again, over mirrors, one for however many want the file."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import aiohttp
from aiohttp.abc import AbstractResolver

from studio_worker.clock import Clock, SystemClock
from studio_worker.errors import FetchFailed, FetchRefused, JobError
from studio_worker.fetch.answer import BadStatus
from studio_worker.fetch.disk import DiskSpace
from studio_worker.fetch.flights import Flights
from studio_worker.fetch.guard import Guard, shown
from studio_worker.fetch.hop import CONNECT_SECS, PATIENCE_SECS, STALL_SECS
from studio_worker.fetch.mirrors import Way, ways
from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.part_sum import PartSum
from studio_worker.fetch.resumable_file import check_writable
from studio_worker.fetch.transfer import StartOver, Transfer
from studio_worker.fetch.tries import LONGEST_REST_SECS, Tries
from studio_worker.fetch.wanted import OnBytes, WantedFile
from studio_worker.log import logger
from studio_worker.masks import Masks
from studio_worker.retry_after import retry_after

TRANSFERS = 4
"""Files that come at once."""

TRIES = 6
"""Failed tries in a row before a download is given up."""

NAME_TRIES = 2
"""The same for a host whose name nobody knows: most such names are wrong, and another worker may know it."""

GONE = (404, 410)

GAIN_BYTES = 1024 * 1024
"""A try that brought this much, or a hundredth of the file, was no failure of the way as a whole: the count begins
anew."""


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """What the operator says about downloads.

    Attributes:
        hub_token: the Hugging Face token.
        mirrors: host to addresses that are asked in its place.
        is_offline: ask nobody.
    """

    hub_token: str | None = field(default=None, repr=False)
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_offline: bool = False


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that has come whole: bytes and SHA-256."""

    size: int
    sha256: str


class Downloader:
    """Downloads model files through the guard.

    Args:
        guard: the rules of this moment; asked once for each try.
        settings: the operator's word of this moment.
        user_agent: the User-Agent header.
        clock: time, for the pauses between tries.
        rng: their jitter.
        connect_secs: the longest that name look-up, connection and TLS may take.
        stall_secs: the longest without a byte; then the transfer is opened anew.
        patience_secs: how long a body may come slower than 1 KiB a second.
        tries: failed tries in a row before it is given up.
        resolver: names to addresses; the machine's own by default.
        tls: trust of certificates; the machine's own by default.
        disk: the room of the disks.
    """

    def __init__(
        self,
        guard: Callable[[], Guard],
        settings: Callable[[], DownloadSettings],
        *,
        user_agent: str,
        clock: Clock | None = None,
        rng: Random | None = None,
        connect_secs: float = CONNECT_SECS,
        stall_secs: float = STALL_SECS,
        patience_secs: float = PATIENCE_SECS,
        tries: int = TRIES,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        disk: DiskSpace | None = None,
    ) -> None:
        self._guard = guard
        self._settings = settings
        self._user_agent = user_agent
        self._clock = clock or SystemClock()
        self._rng = rng or Random()  # noqa: S311 - jitter, no secret
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_secs, sock_connect=connect_secs, sock_read=stall_secs
        )
        self._patience_secs = patience_secs
        self._tries = tries
        self._resolver = resolver
        self._tls = tls
        self.disk = disk or DiskSpace()
        """The room of the disks, less what the downloads under way still have to write."""
        self._flights = Flights(self._clock)
        self._slots = asyncio.Semaphore(TRANSFERS)

    @property
    def is_offline(self) -> bool:
        """Whether the operator wants nobody to be asked."""
        return self._settings().is_offline

    async def download(self, wanted: WantedFile, on_bytes: OnBytes = lambda done, total: None) -> Downloaded | None:
        """Bring `wanted` to its place, or None where something lies there by the time that it is our turn.

        Raises:
            FetchRefused: the URL, a redirect or the answer breaks a rule.
            FetchFailed: anything else, the disk included; `retryable` says whether another try can help.
            ModelUnavailable: it does not fit on the disk.
            JobError: what `wanted.look` and `wanted.inspect` raise.
        """
        try:
            async with self._flights.turn(wanted.dest, on_bytes) as tell:
                if await off_loop(lambda: os.path.lexists(wanted.dest)):
                    return None
                # Only whoever's turn it is takes a slot: those who wait for the same file hold no other one up.
                async with self._slots:
                    return await self._tried(wanted, tell)
        except OSError as error:
            raise _unwritable(wanted, error) from error

    async def aim(self, wanted: WantedFile) -> Way:
        """The way that `download` would ask first, found by the code of its tries; nobody is asked, nothing written.

        Raises:
            FetchRefused: no way to the file keeps the rules that can be seen in a URL.
            FetchFailed: the folder cannot be written to.
        """
        try:
            await off_loop(lambda: check_writable(wanted.dest))
        except OSError as error:
            raise _unwritable(wanted, error) from error
        transfer = self._transfer(wanted, lambda done, total: None, PartSum())
        *others, last = ways(wanted.url, self._settings().mirrors, what=wanted.what)
        for way in others:
            with suppress(FetchRefused):
                await transfer.aim(way)
                return way
        await transfer.aim(last)
        return last

    async def _tried(self, wanted: WantedFile, tell: OnBytes) -> Downloaded | None:
        tries = Tries(ways(wanted.url, self._settings().mirrors, what=wanted.what), clock=self._clock, rng=self._rng)
        # The most that there has been: what is lost and comes again, time after time, gets nobody further.
        most = 0
        summed = PartSum()
        while True:
            way = await tries.turn()
            transfer = self._transfer(wanted, tell, summed)
            try:
                return await self._whole(wanted, transfer, way)
            except (FetchFailed, FetchRefused) as error:
                # A server may repeat what it was sent: in the words behind its status, in where it points to.
                Masks((self._settings().hub_token,)).hide_in(error)
                if isinstance(error, FetchRefused) or not error.retryable:
                    if not tries.drop(way):
                        await self._clear(wanted, transfer, error)
                        raise
                    self._note(wanted, way, error, "A mirror does not have this file")
                    continue
                here, total = await off_loop(transfer.part.progress)
                enough = min((total or wanted.expected) // 100 or GAIN_BYTES, GAIN_BYTES)
                failures = tries.failed(has_gained=here - most >= enough)
                most = max(most, here)
                is_nameless = isinstance(error.__cause__, aiohttp.ClientConnectorDNSError)
                if failures >= (min(self._tries, NAME_TRIES) if is_nameless else self._tries):
                    raise FetchFailed(f"{error} (given up after {failures} tries in a row)") from error
                self._note(wanted, way, error, "A download is tried again")
                if isinstance(error, BadStatus):
                    tries.rest(way, retry_after(error.retry_after, self._clock.now(), cap_secs=LONGEST_REST_SECS) or 0)
                if not isinstance(error, StartOver):
                    tries.pause()

    async def _clear(self, wanted: WantedFile, transfer: Transfer, error: FetchFailed | FetchRefused) -> None:
        """Drop what came of a file that is gone, where no other address could go on from it."""
        if isinstance(error, BadStatus) and error.status in GONE and wanted.sha256 is None:
            await off_loop(transfer.part.discard)

    async def _whole(self, wanted: WantedFile, transfer: Transfer, way: Way) -> Downloaded | None:
        """One try, its hash compared, the file inspected and named; None where something has the name by then."""
        was_here = await off_loop(transfer.part.look)
        begun = self._clock.monotonic()
        brought = await transfer.run(way)
        size = await off_loop(transfer.part.look)
        if wanted.sha256 is not None and brought.sha256 != wanted.sha256:
            await off_loop(transfer.part.discard)
            words = f"{wanted.what}: {shown(way.url)} has the SHA-256 {brought.sha256}, the claim names {wanted.sha256}"
            raise FetchFailed(words, retryable=False) if brought.is_of_one_piece else StartOver(words)
        try:
            await off_loop(lambda: wanted.inspect(transfer.part.path))
        except JobError:
            await off_loop(transfer.part.discard)
            raise
        try:
            await off_loop(transfer.part.finish)
        except FileExistsError:
            await off_loop(transfer.part.discard)
            return None
        secs = max(self._clock.monotonic() - begun, 1e-6)
        logger.bind(
            event="fetch.downloaded",
            file=wanted.dest.name,
            size=size,
            resumed_at=was_here,
            secs=round(secs, 1),
            mb_per_sec=round((size - was_here) / secs / 1e6, 1),
            url=shown(way.url),
        ).info("Downloaded a model file")
        return Downloaded(size, brought.sha256)

    def _transfer(self, wanted: WantedFile, tell: OnBytes, summed: PartSum) -> Transfer:
        return Transfer(
            wanted,
            self._guard(),
            user_agent=self._user_agent,
            token=self._settings().hub_token,
            timeout=self._timeout,
            patience_secs=self._patience_secs,
            resolver=self._resolver,
            tls=self._tls,
            disk=self.disk,
            summed=summed,
            on_bytes=tell,
        )

    def _note(self, wanted: WantedFile, way: Way, error: Exception, sentence: str) -> None:
        logger.bind(event="fetch.try_failed", file=wanted.dest.name, url=shown(way.url), error=str(error)).warning(
            sentence
        )


def _unwritable(wanted: WantedFile, error: OSError) -> FetchFailed:
    return FetchFailed(f"{wanted.what} cannot be written to {wanted.dest.parent}: {error.strerror or error}")
