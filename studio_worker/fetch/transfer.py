"""One try at a model file: what is missing is asked for, judged before a byte is kept, and put into the part.

The status is looked at first, so that an error's page never lands in a file. A part is continued only where the answer
says that it continues the same file at the right byte (RFC 9110 sections 13.1.5 and 14.4); everything else starts over.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, replace

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from studio_worker.errors import FetchFailed, FetchRefused, ModelUnavailable
from studio_worker.fetch.answer import Answer, check_answer, read_answer
from studio_worker.fetch.body import next_piece
from studio_worker.fetch.disk import DiskSpace, Reservation
from studio_worker.fetch.filling import Filling
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.hop import MAX_REDIRECTS, MIN_PACE, REDIRECTS, Hop, network_failure, next_hop, plain_session
from studio_worker.fetch.hub_token import bearer
from studio_worker.fetch.mirrors import Way
from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.part_sum import PartSum
from studio_worker.fetch.proxies import proxy_for
from studio_worker.fetch.resumable_file import Note, ResumableFile, source_mark
from studio_worker.fetch.wanted import OnBytes, WantedFile

READ_BUFFER = 2**18
"""Bytes that aiohttp may hold of an answer (it takes up to twice as many): no more than keeps the hand-overs few."""

STEP_BYTES = 8 * 1024 * 1024
"""Of a body whose length nobody says, the room for so many bytes more is held each time."""


class StartOver(FetchFailed):
    """What came does not continue the part; the part is gone, and the next try asks for the whole file."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What one try has brought.

    Attributes:
        sha256: the hash of the whole file.
        is_of_one_piece: all of it came in this try and its length was told, so that a wrong hash is the server's own.
    """

    sha256: str
    is_of_one_piece: bool


@dataclass(frozen=True, slots=True)
class Aim:
    """What a try begins with.

    Attributes:
        guard: the rules of the way.
        note: what is known of the part that it goes on with; None: it begins anew.
        have: bytes of that part.
        target: what is asked; None where the part is the whole file already.
    """

    guard: Guard
    note: Note | None
    have: int
    target: URL | None


class Transfer:
    """Tries at one file.

    Args:
        wanted: the file.
        guard: the rules of this moment.
        user_agent: the User-Agent header.
        token: the Hugging Face token.
        timeout: connection and stall.
        patience_secs: how long a body may come slower than `MIN_PACE`.
        resolver: names to addresses; the machine's own by default.
        tls: trust of certificates; the machine's own by default.
        disk: the room of the disks.
        summed: the hash of what has come of the part, which the next try goes on with.
        on_bytes: told how far the file is.
    """

    def __init__(
        self,
        wanted: WantedFile,
        guard: Guard,
        *,
        user_agent: str,
        token: str | None,
        timeout: aiohttp.ClientTimeout,
        patience_secs: float,
        resolver: AbstractResolver | None,
        tls: ssl.SSLContext | None,
        disk: DiskSpace,
        summed: PartSum,
        on_bytes: OnBytes,
    ) -> None:
        self.part = ResumableFile(wanted.dest)
        self._wanted = wanted
        self._guard = guard
        self._user_agent = user_agent
        self._token = token
        self._timeout = timeout
        self._patience_secs = patience_secs
        self._resolver = resolver
        self._tls = tls
        self._disk = disk
        self._summed = summed
        self._on_bytes = on_bytes

    async def run(self, way: Way) -> Brought:
        """The file, whole in its part. A failed try leaves the part where another can go on from it.

        Raises:
            FetchRefused: the URL, a redirect or the answer breaks a rule.
            ModelUnavailable: it does not fit on the disk or into the quota, or its first bytes are those of no model.
            StartOver: the part could not be continued.
            FetchFailed: anything else of the network.
            OSError: the disk refuses.
        """
        aim = await self.aim(way)
        note, have, target = aim.note, aim.have, aim.target
        if target is None:
            return await self._as_it_is(have)
        await self._summed.reach(self.part, have)
        for _ in range(MAX_REDIRECTS + 1):
            hop = Hop(aim.guard, target, self._wanted.what, self._resolver)
            try:
                answer = await self._ask(hop, way, note, have)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise hop.refusal or network_failure(error, target, self._wanted.what) from error
            if isinstance(answer, Brought):
                return answer
            target = answer
        raise FetchRefused("too-many-redirects", f"{self._wanted.what} was redirected more than {MAX_REDIRECTS} times")

    async def aim(self, way: Way) -> Aim:
        """What a try begins with, before anybody is asked or anything is written.

        Raises:
            FetchRefused: the URL breaks a rule.
        """
        guard = self._guard if way.mirror is None else replace(self._guard, own_origin=way.mirror)
        note = await off_loop(lambda: self._usable_note(way))
        have = await off_loop(self.part.look) if note is not None else 0
        if note is not None and note.total == have:
            return Aim(guard, note, have, None)
        return Aim(guard, note, have, guard.check(way.url, what=self._wanted.what))

    def _usable_note(self, way: Way) -> Note | None:
        """What is known of the part, if its bytes can be gone on from: the same hash, or the same unchanged URL."""
        note = self.part.note()
        if note is None or not self.part.look() or (note.total is not None and note.total < self.part.look()):
            return None
        if note.sha256 != self._wanted.sha256:
            return None
        if note.source != source_mark(way.url):
            return None if note.sha256 is None else replace(note, validator="")
        return note if note.validator or note.sha256 is not None else None

    async def _as_it_is(self, have: int) -> Brought:
        """The part, which holds the whole file already."""
        await self._summed.reach(self.part, have)
        return Brought(await Filling(self.part, self._summed).end(), is_of_one_piece=False)

    async def _ask(self, hop: Hop, way: Way, note: Note | None, have: int) -> Brought | URL:
        """One request: the file that is in the part now, or where the answer points to."""
        headers = {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        if authorization := bearer(hop.url, self._token):
            headers["Authorization"] = authorization
        if note is not None:
            headers["Range"] = f"bytes={have}-"
            if note.validator:
                headers["If-Range"] = note.validator
        proxy = proxy_for(hop.url)
        if proxy is None:
            session = hop.open_session(self._timeout, self._tls, read_bufsize=READ_BUFFER)
        else:
            await hop.judge_name(self._timeout.connect)
            connector = aiohttp.TCPConnector(ssl=self._tls or True, force_close=True)
            session = plain_session(connector, self._timeout, read_bufsize=READ_BUFFER)
        async with session:
            async with asyncio.timeout((self._timeout.connect or 0) + (self._timeout.sock_read or 0)):
                response = await session.get(hop.url, headers=headers, allow_redirects=False, proxy=proxy)
            async with response:
                if response.status in REDIRECTS:
                    return next_hop(hop, response)
                answer = read_answer(response, have if note is not None else 0, note)
                if answer.restart:
                    await off_loop(self.part.discard)
                    raise StartOver(f"{self._wanted.what} is fetched anew: {answer.restart}")
                if answer.is_complete:
                    return await self._as_it_is(have)
                check_answer(response, hop.url, answer, self._wanted, has_token=bool(self._token))
                return await self._take(response, way, answer)

    async def _take(self, response: aiohttp.ClientResponse, way: Way, answer: Answer) -> Brought:
        """The body into the part; one that is too long, or breaks a rule, takes the part with it."""
        wanted, start = self._wanted, answer.start
        total = answer.total
        if total is not None:
            await off_loop(lambda: wanted.announce(total))
        reservations: list[Reservation] = []
        try:
            # Noted in the thread: a cancellation that comes meanwhile must still give the room back.
            await off_loop(lambda: reservations.append(self._hold(answer)))
            reservation = reservations[0]
            if start == 0:
                note = Note(source_mark(way.url), answer.validator, answer.total, wanted.sha256)
                await off_loop(lambda: self.part.restart(note))
            await self._summed.reach(self.part, start)
            filling = Filling(self.part, self._summed)
            try:
                await self._pour(response, filling, answer, reservation)
            except (FetchRefused, ModelUnavailable):
                await filling.leave()
                await off_loop(self.part.discard)
                raise
            except BaseException:
                await filling.leave()
                raise
            digest = await filling.end()
        finally:
            for reservation in reservations:
                reservation.release()
        if answer.total is not None and filling.size < answer.total:
            raise FetchFailed(f"{wanted.what}: {filling.size:,} of {answer.total:,} bytes came")
        if filling.size < wanted.smallest:
            await off_loop(self.part.discard)
            raise FetchRefused("too-small", f"{wanted.what} has {filling.size:,} bytes, fewer than {wanted.smallest:,}")
        return Brought(digest, is_of_one_piece=start == 0 and answer.has_end)

    async def _pour(
        self, response: aiohttp.ClientResponse, filling: Filling, answer: Answer, reservation: Reservation
    ) -> None:
        wanted = self._wanted
        most = wanted.largest if answer.total is None else min(answer.total, wanted.largest)
        now = asyncio.get_running_loop().time
        begun, start, is_first = now(), filling.size, filling.size == 0
        self._on_bytes(filling.size, answer.total)
        while chunk := await next_piece(response.content):
            if is_first:
                wanted.look(chunk)
                is_first = False
            if filling.size + len(chunk) > most:
                raise FetchRefused("too-large", f"{wanted.what} is longer than the {most:,} bytes that it should have")
            await filling.put(chunk)
            reservation.written(len(chunk))
            if answer.total is None and not reservation.missing_bytes:
                await off_loop(lambda: self._hold_more(reservation, filling.size))
            self._on_bytes(filling.size, answer.total)
            taken = now() - begun
            if taken > self._patience_secs and filling.size - start < MIN_PACE * taken:
                raise FetchFailed(f"{wanted.what} came slower than {MIN_PACE:,} bytes a second")

    def _hold(self, answer: Answer) -> Reservation:
        """Room for what is missing; of a file whose length nobody says, for one step. Blocks."""
        wanted, total = self._wanted, answer.total
        missing = (total or wanted.expected) - answer.start
        try:
            return self._disk.reserve(wanted.dest.parent, max(missing, STEP_BYTES * (total is None)), wanted.what)
        except ModelUnavailable:
            if total is None and not wanted.expected:
                # Nothing says that the part is worth its room: it may be what has filled the disk.
                self.part.discard()
            raise

    def _hold_more(self, reservation: Reservation, size: int) -> None:
        """Room for the next step of a body whose length nobody says, or the end of it. Blocks."""
        self._wanted.grown(size)
        self._disk.extend(reservation, self._wanted.dest.parent, STEP_BYTES, self._wanted.what)
