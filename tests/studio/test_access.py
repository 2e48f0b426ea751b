"""Who gets in: tokens, cookies, hosts and origins."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.guard import HostRule
from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import Admin, RawWorker, registration

ADMIN_ROUTES = [
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", "/jobs/x"),
    ("GET", "/jobs/x/result"),
    ("GET", "/jobs/x/preview"),
    ("POST", "/jobs/x/cancel"),
    ("POST", "/jobs/x/retry"),
    ("GET", "/workers"),
    ("GET", "/workers/pending"),
    ("POST", "/workers/pending/x/approve"),
    ("POST", "/workers/pending/x/reject"),
    ("GET", "/workers/x"),
    ("DELETE", "/workers/x"),
    ("GET", "/models"),
    ("POST", "/models"),
    ("GET", "/models/x"),
    ("PUT", "/models/x"),
    ("DELETE", "/models/x"),
    ("GET", "/logs"),
    ("GET", "/events"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_no_admin_route_answers_without_the_token(admin: Admin, method: str, path: str) -> None:
    for headers, expected in (
        ({}, 401),
        ({"Authorization": "Basic YTpi"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": "Bearer \xfc"}, 403),
    ):
        async with admin.http.request(method, admin.base + path, headers=headers) as response:
            assert response.status == expected, headers


async def test_the_admin_token_in_the_query_opens_no_route(admin: Admin, studio: StudioServer) -> None:
    async with admin.http.get(f"{admin.base}/jobs?token={studio.admin_token}") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_workers_token_is_no_admin_token(admin: Admin, worker: RawWorker) -> None:
    async with admin.http.get(admin.base + "/jobs", headers={"Authorization": f"Bearer {worker.token}"}) as response:
        assert response.status == 403


async def test_health_is_open_and_says_little(studio: StudioServer, http: aiohttp.ClientSession) -> None:
    async with http.get(studio.url + "/healthz") as response:
        assert response.status == 200
        assert set(await response.json()) == {"status", "version"}


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8787", "127.0.0.1.evil.com", "192.168.1.5", "studio", "a@b", ""]
)
@pytest.mark.parametrize("path", ["/", "/healthz", "/graphics/api/jobs", "/static/studio.js"])
async def test_a_foreign_host_is_not_answered(
    studio: StudioServer, http: aiohttp.ClientSession, host: str, path: str
) -> None:
    async with http.get(studio.url + path, headers={"Host": host}) as response:
        assert response.status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:80", "studio.localhost"])
async def test_a_name_of_this_machine_is_answered(studio: StudioServer, http: aiohttp.ClientSession, host: str) -> None:
    async with http.get(studio.url + "/healthz", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.com", "http://127.0.0.1:1", "http://localhost", "x://[", ""])
async def test_a_request_from_another_origins_page_is_refused(
    admin: Admin, http: aiohttp.ClientSession, origin: str
) -> None:
    url = admin.base + "/workers/register-request"
    async with http.post(url, json=registration(), headers={"Origin": origin}) as response:
        assert response.status == 403
    async with http.post(admin.base + "/jobs", headers={"Origin": origin, **admin.headers}) as response:
        assert response.status == 403


async def test_a_socket_from_another_origins_page_is_refused(worker: RawWorker) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await worker.http.ws_connect(
            f"{worker.base}/workers/{worker.worker_id}/connect",
            headers={"Authorization": f"Bearer {worker.token}", "Origin": "https://evil.com"},
        )
    assert refusal.value.status == 403


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.0.0.1", "nas.local", False),
        ("::1", "[::1]", True),
        ("0.0.0.0", "10.0.0.1:8787", True),
        ("0.0.0.0", "nas", True),
        ("0.0.0.0", "nas.local", True),
        ("0.0.0.0", "evil.com", False),
        ("0.0.0.0", "[fe80::1]:8787", True),
        ("192.168.1.5", "192.168.1.5", True),
        ("studio.example", "studio.example:443", True),
        ("127.0.0.1", "studio.example", False),
    ],
)
def test_the_host_rule_follows_what_the_studio_is_bound_to(bound: str, host: str, allowed: bool) -> None:
    assert HostRule(bound).allows(host) is allowed


def test_further_names_can_be_allowed() -> None:
    assert HostRule("127.0.0.1", ["studio.example"]).allows("Studio.Example:443")


async def dial(studio: StudioServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection."""
    return await asyncio.open_connection("127.0.0.1", int(studio.url.rsplit(":", 1)[1]))


async def all_until_the_end(studio: StudioServer, head: bytes) -> bytes:
    """What the studio says on a connection that begins like this, until it ends it."""
    reader, writer = await dial(studio)
    writer.write(head)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


class TestSlowStrangers:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(body_secs=0.3, idle_secs=0.3, close_secs=0.3, shutdown_secs=0.3)

    async def test_a_sign_in_form_that_stalls_is_ended(self, studio: StudioServer) -> None:
        reader, writer = await dial(studio)
        writer.write(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4096\r\n\r\ntoken=")

        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()

    @pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nX-A: b"], ids=["nothing", "a part of a head"])
    async def test_a_connection_that_never_gets_to_a_request_is_closed(self, studio: StudioServer, head: bytes) -> None:
        assert await all_until_the_end(studio, head) == b""

    async def test_a_session_is_no_idle_connection(self, studio: StudioServer, worker: RawWorker) -> None:
        await all_until_the_end(studio, b"")

        await worker.nothing()


class Browser:
    """A cookie jar with a browser's headers."""

    def __init__(self, studio: StudioServer) -> None:
        self.studio = studio
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def call(self, method: str, path: str, **more: Any) -> aiohttp.ClientResponse:
        response = await self.http.request(method, self.studio.url + path, allow_redirects=False, **more)
        await response.read()
        return response


@pytest.fixture
async def browser(studio: StudioServer) -> Any:
    browser = Browser(studio)
    yield browser
    await browser.http.close()


class TestDashboardDoor:
    async def test_without_a_cookie_there_is_the_form_and_nothing_else(self, browser: Browser) -> None:
        response = await browser.call("GET", "/")

        assert response.status == 401
        assert 'action="/login"' in await response.text()
        assert (await browser.call("GET", "/parts/queue")).status == 401

    async def test_a_sign_in_link_gives_a_cookie_and_leads_to_the_bare_address(self, browser: Browser) -> None:
        link = browser.studio.login_url().removeprefix(browser.studio.url)
        response = await browser.call("GET", link)

        assert (response.status, response.headers["Location"]) == (303, "/")
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await browser.call("GET", "/")).status == 200

    async def test_a_sign_in_link_is_spent_by_its_use(self, browser: Browser) -> None:
        link = browser.studio.login_url().removeprefix(browser.studio.url)
        await browser.call("GET", link)
        browser.http.cookie_jar.clear()

        assert (await browser.call("GET", link)).status == 403
        assert (await browser.call("GET", "/")).status == 401

    async def test_the_admin_token_opens_by_the_form(self, browser: Browser) -> None:
        response = await browser.call("POST", "/login", data={"token": f" {browser.studio.admin_token} "})

        assert (response.status, response.headers["Location"]) == (303, "/")
        assert (await browser.call("GET", "/graphics/api/jobs")).status == 200

    async def test_the_admin_token_in_an_address_opens_nothing(self, browser: Browser) -> None:
        response = await browser.call("GET", f"/?token={browser.studio.admin_token}")

        assert response.status == 403
        assert "Set-Cookie" not in response.headers
        assert browser.studio.admin_token not in await response.text()
        assert (await browser.call("GET", "/graphics/api/jobs")).status == 401

    @pytest.mark.parametrize("token", ["", "wrong", "\xfc", "x" * 3_000])
    async def test_a_wrong_token_in_the_form_opens_nothing(self, browser: Browser, token: str) -> None:
        response = await browser.call("POST", "/login", data={"token": token})

        assert response.status == 403
        assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize("body", [b"", b"token", b"%", b"=&=&;", b"\xff", b'{"token": 1}'])
    async def test_what_is_no_form_with_a_token_opens_nothing(self, browser: Browser, body: bytes) -> None:
        assert (await browser.call("POST", "/login", data=body)).status == 403

    async def test_a_sign_in_form_over_the_bound_is_refused_unread(self, browser: Browser) -> None:
        reader, writer = await dial(browser.studio)
        writer.write(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4097\r\n\r\n")

        assert b" 413 " in await reader.readline()
        writer.close()

    async def test_a_sign_in_form_over_the_bound_without_a_length_is_refused(self, browser: Browser) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"token="
            yield b"x" * 5_000

        assert (await browser.call("POST", "/login", data=body())).status == 413

    @pytest.mark.parametrize("cookie", ["", "1.2.3", "99999999999.x.y", "....", "99999999999..", "\xfc.x.y"])
    async def test_a_made_up_cookie_opens_nothing(self, browser: Browser, cookie: str) -> None:
        port = browser.studio.url.rsplit(":", 1)[1]
        headers = {"Cookie": f"studio_session_{port}={cookie}"}

        assert (await browser.call("GET", "/graphics/api/jobs", headers=headers)).status == 401

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "https://evil.com"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 400),
        ],
    )
    async def test_a_cookie_changes_things_from_our_own_pages_only(
        self, browser: Browser, headers: dict[str, str], status: int
    ) -> None:
        await browser.call("POST", "/login", data={"token": browser.studio.admin_token})

        response = await browser.call("POST", "/graphics/api/jobs", json={}, headers=headers)

        assert response.status == status

    async def test_our_own_origin_passes(self, browser: Browser) -> None:
        await browser.call("POST", "/login", data={"token": browser.studio.admin_token})

        response = await browser.call("POST", "/graphics/api/jobs", json={}, headers={"Origin": browser.studio.url})

        assert response.status == 400

    async def test_signing_out_takes_the_cookie_away(self, browser: Browser) -> None:
        await browser.call("POST", "/login", data={"token": browser.studio.admin_token})
        await browser.call("POST", "/logout", headers={"Origin": browser.studio.url})

        assert (await browser.call("GET", "/")).status == 401

    async def test_signing_out_ends_the_session_of_a_copied_cookie_and_no_other(self, browser: Browser) -> None:
        cookies = []
        for _ in range(2):
            response = await browser.call("POST", "/login", data={"token": browser.studio.admin_token})
            [cookie] = response.cookies.values()
            cookies.append({"Cookie": f"{cookie.key}={cookie.value}"})
            browser.http.cookie_jar.clear()
        ours = {"Origin": browser.studio.url}
        await browser.call("POST", "/logout", headers=cookies[0] | ours)

        assert [(await browser.call("GET", "/", headers=each)).status for each in cookies] == [401, 200]

    async def test_a_look_at_the_head_of_a_sign_in_link_does_not_spend_it(self, browser: Browser) -> None:
        link = browser.studio.login_url().removeprefix(browser.studio.url)

        assert (await browser.call("HEAD", link)).status == 405
        assert (await browser.call("GET", link)).status == 303

    async def test_signing_out_from_another_page_is_refused(self, browser: Browser) -> None:
        await browser.call("POST", "/login", data={"token": browser.studio.admin_token})

        assert (await browser.call("POST", "/logout")).status == 403

    async def test_a_cookie_survives_a_restart(self, tmp_path: Path) -> None:
        async with StudioServer(tmp_path / "again", port=0) as first:
            browser = Browser(first)
            await browser.call("POST", "/login", data={"token": first.admin_token})
            port = int(first.url.rsplit(":", 1)[1])
        async with StudioServer(tmp_path / "again", port=port) as second:
            browser.studio = second
            assert (await browser.call("GET", "/")).status == 200
        await browser.http.close()

    async def test_pages_carry_a_strict_policy(self, browser: Browser) -> None:
        response = await browser.call("GET", "/")

        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "x.js", "%00"])
    async def test_only_our_own_files_are_served(self, browser: Browser, name: str) -> None:
        assert (await browser.call("GET", f"/static/{name}")).status in (400, 401, 404)

    async def test_an_unknown_part_is_a_404(self, browser: Browser) -> None:
        await browser.call("POST", "/login", data={"token": browser.studio.admin_token})

        assert (await browser.call("GET", "/parts/secrets")).status == 404
