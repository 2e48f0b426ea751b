"""JSON answers, and the one place where errors become them."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from studio_worker.errors import BadClaim, StudioWorkerError
from studio_worker.log import logger
from studio_worker.studio.store.port import AlreadyThere, StoreBusy
from studio_worker.wire.strict_json import dumps_lossy

RETRY_AFTER_SECS = 1


class Refusal(StudioWorkerError):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: the sentence for people.
        extra: further members of the JSON answer (`field`, `reason`).
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, *, extra: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.extra = extra or {}
        self.headers = headers or {}


class NotFound(Refusal):
    """404."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class BadField(Refusal):
    """400, naming the field by its wire name."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(400, f"{field}: {problem}", extra={"field": field})


class Conflict(Refusal):
    """409; `reason` is what a worker goes by (protocol section 5)."""

    def __init__(self, message: str, reason: str = "other") -> None:
        super().__init__(409, message, extra={"reason": reason})


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`value` as a JSON answer that nothing may cache or take for a page."""
    return web.Response(
        text=dumps_lossy(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
    )


def refused(status: int, message: str, extra: dict[str, Any], headers: dict[str, str]) -> web.Response:
    """The answer of a refusal: ``{"error": …}`` and what else is known."""
    return answer({"error": message, **extra}, status, headers)


@web.middleware
async def errors_to_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into answers; a bug becomes a plain 500 and one line in the log."""
    try:
        return await handler(request)
    except Refusal as error:
        return refused(error.status, str(error), error.extra, error.headers)
    except web.RequestPayloadError:
        return refused(400, "the body cannot be read: it is cut, or not encoded as its headers say", {}, {})
    except BadClaim as error:
        return refused(400, str(error), {"field": error.field}, {})
    except AlreadyThere as error:
        return refused(409, str(error), {"reason": "exists"}, {})
    except StoreBusy as error:
        return refused(503, str(error), {}, {"Retry-After": str(RETRY_AFTER_SECS)})
    except web.HTTPException as error:
        kept = {name: value for name, value in error.headers.items() if name in ("Allow", "Location", "Set-Cookie")}
        if error.status < 400:
            raise
        return refused(error.status, f"{error.reason} ({request.method} {request.path[:200]})", {}, kept)
    except (ConnectionError, TimeoutError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence of a server
        logger.bind(event="studio.error", method=request.method, path=request.path).opt(exception=error).error(
            "A request ended in an unexpected error"
        )
        return refused(500, "the studio failed at this request; its log says why", {}, {})
