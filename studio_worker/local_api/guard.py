"""Who may ask the local API.

Threat: a web page that the operator visits can send requests to loopback, under another Host (DNS rebinding) or with
its own Origin; another user of the machine can connect too. Promise: in this order a request must be meant for
loopback (Host), come from no foreign page (Origin), and carry this start's token, which only the owner can read from
the discovery file. ``/healthz`` and ``/readyz`` tell nothing worth a token and need a loopback Host alone.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from studio_worker.local_api.answers import error_answer
from studio_worker.log import logger

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
MAX_BODY_BYTES = 1_048_576

_LOOPBACK = r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?"
_HOST = re.compile(_LOOPBACK, re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(rf"https?://{_LOOPBACK}", re.ASCII | re.IGNORECASE)
_SENTENCES = {
    404: ("not_found", "there is no such route"),
    405: ("method_not_allowed", "this route takes another method"),
    413: ("body_too_large", f"the request body exceeds {MAX_BODY_BYTES} bytes"),
}


def guarded(token: str) -> Middleware:
    """A middleware that lets only the owner's own programs through, and answers every error as JSON.

    Args:
        token: the bearer token; compared in constant time.
    """
    if not token:
        raise ValueError("a local API without a token is open to everybody")

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _refusal(request, token)
        if refusal is not None:
            return refusal
        try:
            if request.body_exists:
                await request.read()
            return await handler(request)
        except web.HTTPException as error:
            code, message = _SENTENCES.get(error.status, ("http_error", error.reason))
            return error_answer(error.status, code, message)
        except Exception:  # noqa: BLE001 - one request's failure must be answered, and must not end the worker
            logger.bind(event="local_api.failed", path=request.path).exception("A request to the local API failed.")
            return error_answer(500, "internal", "the worker could not answer; its log says why")

    return guard


def _refusal(request: web.Request, token: str) -> web.Response | None:
    headers = request.headers
    if not _all_match(_HOST, headers.getall(hdrs.HOST, ())):
        return _denied(request, 403, "forbidden_host", "forbidden: non-loopback Host header")
    if request.path in OPEN_PATHS:
        return None
    if not _all_match(_ORIGIN, headers.getall(hdrs.ORIGIN, ())):
        return _denied(request, 403, "forbidden_origin", "forbidden: the Origin header names a foreign page")
    given = headers.getall(hdrs.AUTHORIZATION, ())
    scheme, _, bearer = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not hmac.compare_digest(bearer.encode("utf-8", "surrogateescape"), token.encode()):
        answer = _denied(
            request, 401, "unauthorized", "send the bearer token of local-api.json, beside the config file"
        )
        answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        return answer
    return None


def _all_match(pattern: re.Pattern[str], values: Iterable[str]) -> bool:
    return all(pattern.fullmatch(value) for value in values)


def _denied(request: web.Request, status: int, code: str, message: str) -> web.Response:
    logger.bind(event="local_api.denied", code=code, method=request.method, path=request.path).warning(
        "A request to the local API was refused."
    )
    return error_answer(status, code, message)
