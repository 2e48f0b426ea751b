"""One worker's WebSocket: the upgrade, hello, frames in, frames out (protocol section 3)."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from studio_worker.clock import Clock, rfc3339
from studio_worker.log import logger
from studio_worker.studio.access import bearer, check_hash
from studio_worker.studio.door import Door
from studio_worker.studio.guard import own_origin
from studio_worker.studio.peer import EXTENSIONS, End, Peer
from studio_worker.studio.presence import INTERNAL_ERROR, Presence
from studio_worker.studio.served_socket import ServedSocket
from studio_worker.studio.settling import Settling
from studio_worker.studio.signing import same, token_hash
from studio_worker.studio.store.port import Store, StoreBusy
from studio_worker.studio.timings import Limits, Timings
from studio_worker.studio.worker_logs import WorkerLogs
from studio_worker.wire.frames import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Accept,
    CloseCode,
    CompleteJson,
    ErrorCode,
    Fail,
    Heartbeat,
    Hello,
    LogBatch,
    Progress,
    ReadyForMore,
    Reject,
    Unreadable,
    Welcome,
    WorkerFrame,
    read_worker_frame,
)

_ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)


class Sessions:
    """Serves workers' sockets."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        settling: Settling,
        logs: WorkerLogs,
        clock: Clock,
        timings: Timings,
        limits: Limits,
    ) -> None:
        self._store = store
        self._presence = presence
        self._settling = settling
        self._logs = logs
        self._clock = clock
        self._timings = timings
        self._limits = limits
        self._door = Door(clock, per_sec=limits.joins_per_sec, longest_secs=timings.door_secs)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Handle `GET /workers/{worker_id}/connect` until the socket ends.

        A wrong bearer is answered with 401 before the upgrade; a deleted worker's own token gets the upgrade, so
        that it can be told by 4004 that it was deleted. Where many come at once it waits for its turn, or gets a 503.
        """
        worker_id = request.match_info["worker_id"]
        worker = await self._store.worker(worker_id)
        check_hash(bearer(request), worker.token_hash if worker else None)
        # Only after its bearer: whoever has none takes nobody's turn.
        await self._door.enter()
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            max_msg_size=MAX_FRAME_BYTES,
            timeout=self._timings.close_secs,
        )
        await socket.prepare(request)
        peer = Peer(
            worker_id,
            own_origin(request),
            self._limits.outgoing_frames,
            self._clock.monotonic(),
            rfc3339(self._clock.now()),
        )
        served = ServedSocket(socket)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_send(socket, served, peer))
                try:
                    await self._presence.joined(peer)
                    await self._read(served, peer)
                except StoreBusy:
                    peer.end(INTERNAL_ERROR, "the studio's database is busy", ErrorCode.INTERNAL_ERROR)
                finally:
                    peer.end(CloseCode.NORMAL, "bye")
        finally:
            await self._presence.left(peer)
        return socket

    async def _read(self, socket: ServedSocket, peer: Peer) -> None:
        has_warned = False
        try:
            async with asyncio.timeout(self._timings.hello_secs):
                first = await socket.receive()
        except TimeoutError:
            peer.violate("no hello in time")
            return
        if first.type is not WSMsgType.TEXT or not await self._hello(peer, first.data):
            if first.type is WSMsgType.BINARY:
                peer.violate("session not authenticated")
            return
        while (message := await socket.receive()).type not in _ENDS:
            if peer.ended is not None:
                return
            try:
                if message.type is not WSMsgType.TEXT:
                    raise Unreadable("a binary frame")
                frame = read_worker_frame(message.data)
            except Unreadable as error:
                if not has_warned:
                    has_warned = True
                    logger.bind(event="studio.unreadable", worker_id=peer.worker_id, error=str(error)).warning(
                        "A frame could not be read and was skipped, as will be others of this session"
                    )
                continue
            if isinstance(frame, Heartbeat) and self._is_too_long(peer, message.data):
                return
            await self._dispatch(peer, frame)

    def _is_too_long(self, peer: Peer, text: str) -> bool:
        if len(text.encode()) <= self._limits.advert_bytes:
            return False
        peer.violate(f"a hello or a heartbeat may have {self._limits.advert_bytes:,} bytes")
        return True

    async def _hello(self, peer: Peer, text: str) -> bool:
        if self._is_too_long(peer, text):
            return False
        try:
            frame = read_worker_frame(text)
        except Unreadable as error:
            peer.violate(f"session not authenticated: {error}")
            return False
        if not isinstance(frame, Hello):
            peer.violate("session not authenticated")
            return False
        worker = await self._store.worker(peer.worker_id)
        if worker is None or not same(token_hash(frame.auth_token), worker.token_hash):
            peer.end(CloseCode.AUTH_FAILED, "the token in hello is not this worker's", ErrorCode.AUTH_FAILED)
            return False
        if worker.deleted_at is not None:
            peer.end(CloseCode.WORKER_DELETED, "this worker was deleted", ErrorCode.WORKER_DELETED)
            return False
        peer.post(Welcome(worker_id=peer.worker_id, server_time=rfc3339(self._clock.now()), extensions=EXTENSIONS))
        await self._presence.greeted(peer, frame.capabilities)
        return True

    async def _dispatch(self, peer: Peer, frame: WorkerFrame) -> None:
        match frame:
            case Heartbeat():
                await self._presence.heartbeat(peer, frame)
            case Accept():
                self._settling.accept(peer, frame)
            case Reject():
                await self._settling.reject(peer, frame)
            case CompleteJson():
                await self._settling.complete(peer, frame)
            case Fail():
                await self._settling.fail(peer, frame)
            case Progress():
                self._settling.progress(peer, frame)
            case LogBatch():
                await self._logs.take(peer.worker_id, frame)
            case Hello():
                peer.violate("a second hello")
            case ReadyForMore():
                pass


async def _send(socket: web.WebSocketResponse, served: ServedSocket, peer: Peer) -> None:
    """Write what is posted, in order, until the end."""
    while True:
        item = await peer.outgoing.get()
        try:
            if isinstance(item, End):
                await served.close(item.code, item.message)
                return
            await socket.send_str(item.text())
        except (ConnectionError, RuntimeError):
            peer.end(CloseCode.NORMAL, "the connection is gone")
            return
