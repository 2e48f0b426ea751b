"""Who may do what: the admin token, the dashboard's cookie, workers' bearers, signed links."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from aiohttp import web

from studio_worker.studio.answers import Refusal
from studio_worker.studio.guard import is_same_origin
from studio_worker.studio.signing import Signer, same, token_hash

SAFE_METHODS = ("GET", "HEAD")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="studio"'}
MAX_LOGIN_CODES = 100
MAX_SIGNED_OUT = 1_000
"""Ended sessions that are remembered, the latest; a restart of the studio forgets them."""


def bearer(request: web.Request) -> str:
    """The token of an ``Authorization: Bearer`` header. Raises a 401 where there is none; never read from a query."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal(401, "an 'Authorization: Bearer <token>' header is needed", headers=_CHALLENGE)
    return token


def check_hash(token: str, kept_hash: str | None) -> None:
    """Compare a bearer with a kept SHA-256 in constant time. Raises a 401."""
    if not same(token_hash(token), kept_hash or "0" * 64) or kept_hash is None:
        raise Refusal(401, "this token is not valid here", headers=_CHALLENGE)


class Access:
    """The admin's door.

    Args:
        admin_token: the bearer of the admin routes.
        signer: signs cookies and links.
        now: Unix seconds.
        login_secs: how long a browser stays signed in.
    """

    def __init__(self, admin_token: str, signer: Signer, now: Callable[[], float], login_secs: float) -> None:
        self._token_hash = token_hash(admin_token)
        self._signer = signer
        self._now = now
        self._login_secs = login_secs
        self._codes: dict[str, None] = {}
        self._signed_out: dict[str, None] = {}
        self.cookie = "studio_session"
        """The cookie's name; the server adds its port, since cookies don't know ports."""

    def require_admin(self, request: web.Request) -> None:
        """Let the admin pass: by bearer, or by the dashboard's cookie from the dashboard's own pages.

        Raises:
            Refusal: 401 without credentials, 403 with wrong ones or from another page.
        """
        if "Authorization" in request.headers:
            if not self.is_admin_token(bearer(request)):
                raise Refusal(403, "this is not the admin token")
            return
        if not self.is_signed_in(request):
            raise Refusal(401, "the admin token is needed as 'Authorization: Bearer <token>'", headers=_CHALLENGE)
        if request.method not in SAFE_METHODS and not is_same_origin(request):
            raise Refusal(403, "a change needs to come from the studio's own pages")

    def is_signed_in(self, request: web.Request) -> bool:
        """Whether the request bears a cookie of ours that has not expired, and was not signed out."""
        until, nonce, signature = self._session(request)
        return nonce not in self._signed_out and self._signer.holds("session", nonce, until, signature, self._now())

    def sign_out(self, request: web.Request, response: web.Response) -> None:
        """End the session of the request's cookie, whoever else has a copy, and take it from the browser."""
        if self.is_signed_in(request):
            _, nonce, _ = self._session(request)
            while len(self._signed_out) >= MAX_SIGNED_OUT:
                del self._signed_out[next(iter(self._signed_out))]
            self._signed_out[nonce] = None
        response.del_cookie(self.cookie, path="/")

    def login_code(self) -> str:
        """A code that opens the dashboard once."""
        code = secrets.token_urlsafe(24)
        while len(self._codes) >= MAX_LOGIN_CODES:
            del self._codes[next(iter(self._codes))]
        self._codes[token_hash(code)] = None
        return code

    def is_admin_token(self, secret: str) -> bool:
        """Whether a text is the admin token, compared in constant time."""
        return same(token_hash(secret), self._token_hash)

    def spend_code(self, code: str) -> bool:
        """Whether a text is a login code; it is none any more after this."""
        hashed = token_hash(code)
        if hashed not in self._codes:
            return False
        del self._codes[hashed]
        return True

    def _session(self, request: web.Request) -> tuple[str, str, str]:
        until, _, rest = request.cookies.get(self.cookie, "").partition(".")
        nonce, _, signature = rest.partition(".")
        return until, nonce, signature

    def sign_in(self, request: web.Request, response: web.Response) -> None:
        """Give the browser its cookie."""
        until = int(self._now() + self._login_secs)
        nonce = secrets.token_urlsafe(16)
        value = f"{until}.{nonce}.{self._signer.sign('session', nonce, until)}"
        response.set_cookie(
            self.cookie,
            value,
            max_age=int(self._login_secs),
            httponly=True,
            samesite="Strict",
            secure=request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https",
            path="/",
        )
