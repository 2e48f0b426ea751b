"""The body of an answer, piece by piece, with all that had come before it broke off."""

from __future__ import annotations

import aiohttp


async def next_piece(content: aiohttp.StreamReader) -> bytes:
    """What has come since the last call; waits for the first byte of it; empty: the body is over.

    aiohttp forgets what it holds of a body as soon as the connection breaks, half a mebibyte at most; a server that
    breaks it sooner than that each time would never get anywhere. So what is held comes first, then the error.

    Raises:
        aiohttp.ClientError: the body has broken off, and everything before that was handed out.
    """
    try:
        return await content.readany()
    except aiohttp.ClientError as error:
        content.set_exception(None)  # type: ignore[arg-type]  # the way to read on that needs no private name
        held = content.read_nowait()
        content.set_exception(error)
        if not held:
            raise
        return held
