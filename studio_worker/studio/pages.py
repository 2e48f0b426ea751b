"""The dashboard's routes: a frame, its parts, and the door (sign-in link, token form, cookie)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from studio_worker.studio.access import Access
from studio_worker.studio.answers import NotFound, Refusal
from studio_worker.studio.bodies import read_field
from studio_worker.studio.guard import is_same_origin, own_origin
from studio_worker.studio.page_views import PageViews
from studio_worker.studio.timings import Limits, Timings

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it, browsers send the page's own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {"studio.css": "text/css", "studio.js": "text/javascript", "icon.svg": "image/svg+xml"}
PARTS = ("summary", "pending", "queue", "results", "workers", "models", "logs")
MAX_SECRET = 512


class Pages:
    """`/`, `/login`, `/logout`, `/parts/*` and `/static/*`. Everything shown is escaped by the templates."""

    def __init__(self, views: PageViews, access: Access, timings: Timings, limits: Limits) -> None:
        self._views = views
        self._access = access
        self._timings = timings
        self._limits = limits
        self._templates = Environment(
            loader=PackageLoader("studio_worker.studio"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        folder = files("studio_worker.studio").joinpath("static")
        self._static = {name: folder.joinpath(name).read_bytes() for name in STATIC}

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes(
            [
                web.get("/", self.home, allow_head=False),
                web.post("/login", self.login),
                web.post("/logout", self.logout),
                web.get("/parts/{name}", self.part),
                web.get("/static/{name}", self.static),
            ]
        )

    async def home(self, request: web.Request) -> web.Response:
        """Handle `GET /`: the dashboard, the sign-in form, or, with the code of a sign-in link, the way in.

        The admin token is no such code: an address is kept by histories and by proxies.
        """
        code = request.query.get("token")
        if code is not None:
            if len(code) <= MAX_SECRET and self._access.spend_code(code):
                return self._enter(request)
            return self._turn_away("This sign-in link was used before, or is not this studio's.")
        if not self._may_look(request):
            return self._page("login.html", 401, problem="")
        values: dict[str, Any] = {"address": own_origin(request)}
        for name in PARTS:
            values |= await self._view(name)()
        return self._page("dashboard.html", **values)

    async def login(self, request: web.Request) -> web.Response:
        """Handle `POST /login`: the token form, which anybody may send."""
        secret = await read_field(request, "token", self._limits.login_bytes, self._timings.body_secs)
        if len(secret) <= MAX_SECRET and self._access.is_admin_token(secret.strip()):
            return self._enter(request)
        return self._turn_away("That is not the admin token.")

    async def logout(self, request: web.Request) -> web.Response:
        """Handle `POST /logout`."""
        if not is_same_origin(request):
            raise Refusal(403, "a change needs to come from the studio's own pages")
        response = self._to_home()
        self._access.sign_out(request, response)
        return response

    async def part(self, request: web.Request) -> web.Response:
        """Handle `GET /parts/{name}`: one part of the dashboard, as it is now."""
        self._access.require_admin(request)
        name = request.match_info["name"]
        if name not in PARTS:
            raise NotFound("there is no such part")
        return self._page(f"parts/{name}.html", **await self._view(name)(), address=own_origin(request))

    async def static(self, request: web.Request) -> web.Response:
        """Handle `GET /static/{name}`: one of our own few files."""
        name = request.match_info["name"]
        if name not in self._static:
            raise NotFound("there is no such file")
        headers = PAGE_HEADERS | {"Cache-Control": "no-cache"}
        return web.Response(body=self._static[name], content_type=STATIC[name], charset="utf-8", headers=headers)

    def _view(self, name: str) -> Callable[[], Awaitable[dict[str, Any]]]:
        views: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "summary": self._views.summary,
            "pending": self._views.pending,
            "queue": self._views.queue,
            "results": self._views.results,
            "workers": self._views.workers,
            "models": self._views.models,
            "logs": self._views.logs,
        }
        return views[name]

    def _may_look(self, request: web.Request) -> bool:
        try:
            self._access.require_admin(request)
        except Refusal:
            return False
        return True

    def _turn_away(self, problem: str) -> web.Response:
        return self._page("login.html", 403, problem=problem)

    def _enter(self, request: web.Request) -> web.Response:
        """Give the browser a cookie and lead it to the bare address."""
        response = self._to_home()
        self._access.sign_in(request, response)
        return response

    def _to_home(self) -> web.Response:
        return web.Response(status=303, headers=PAGE_HEADERS | {"Location": "/"})

    def _page(self, template: str, status: int = 200, **values: Any) -> web.Response:
        text = self._templates.get_template(template).render(values)
        return web.Response(text=text, status=status, content_type="text/html", headers=PAGE_HEADERS)
