"""A real headless Chromium, driven over W3C WebDriver, beside a real studio."""

import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.raw_worker import Admin, RawWorker

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1280,900",
)
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
MISSING = [
    name for name, path in (("Chromium (chromium)", CHROMIUM), ("its driver (chromedriver)", DRIVER)) if path is None
]


WATCH = """
    const done = arguments[arguments.length - 1];
    const look = () => { const value = (%s); if (value) { stop(); done(value); } };
    const watch = new MutationObserver(look);
    const events = ["load", "error", "loadedmetadata", "change"];
    const stop = () => {
        watch.disconnect();
        for (const name of events) document.removeEventListener(name, look, true);
    };
    watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
    for (const name of events) document.addEventListener(name, look, true);
    look();
"""


class Unanswered(Exception):
    """The driver's error object."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)
            if MISSING:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {' and '.join(MISSING)}"))


class Page:
    """One browser window."""

    def __init__(self, http: aiohttp.ClientSession, session: str) -> None:
        self._http = http
        self._session = session

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        payload = {} if body is None and method == "POST" else body
        async with self._http.request(method, self._session + path, json=payload) as response:
            value = (await response.json())["value"]
        if response.status >= 400:
            raise Unanswered(value)
        return value

    async def open(self, url: str) -> None:
        await self.ask("POST", "/url", {"url": url})

    async def run(self, script: str, *args: Any) -> Any:
        return await self.ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    async def wait_for(self, condition: str) -> Any:
        """The value of a JavaScript expression once it is truthy; it is looked at whenever the page changes.

        A navigation ends the script that looks, so it is started again in the new page.
        """
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.ask("POST", "/execute/async", {"script": WATCH % condition, "args": []})
                except Unanswered as problem:
                    if problem.args[0]["error"] not in ("script timeout", "javascript error"):
                        raise

    async def click(self, css: str) -> None:
        found = await self.ask("POST", "/element", {"using": "css selector", "value": css})
        await self.ask("POST", f"/element/{found[ELEMENT]}/click")

    async def type(self, css: str, text: str) -> None:
        found = await self.ask("POST", "/element", {"using": "css selector", "value": css})
        await self.ask("POST", f"/element/{found[ELEMENT]}/value", {"text": text})

    async def text(self, css: str) -> str:
        return str(await self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    async def console(self) -> list[str]:
        """What the page has written to its console so far, breaches of its Content-Security-Policy included."""
        return [
            f"{line['level']}: {line['message']}" for line in await self.ask("POST", "/se/log", {"type": "browser"})
        ]

    async def screenshot(self) -> bytes:
        return base64.b64decode(await self.ask("GET", "/screenshot"))


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    driver = await asyncio.create_subprocess_exec(
        str(DRIVER), "--port=0", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert driver.stdout
    try:
        async with asyncio.timeout(30):
            while not (port := re.search(rb"started successfully on port (\d+)", await driver.stdout.readline())):
                assert driver.returncode is None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            base = f"http://127.0.0.1:{int(port.group(1))}/session"
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": 3_000, "pageLoad": 30_000},
            }
            async with http.post(base, json={"capabilities": {"alwaysMatch": wanted}}) as response:
                value = (await response.json())["value"]
            assert response.status == 200, value
            session = f"{base}/{value['sessionId']}"
            yield Page(http, session)
            await http.delete(session)
    finally:
        if driver.returncode is None:
            driver.terminate()
        await driver.wait()


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[StudioServer]:
    timings = Timings(close_secs=0.5, shutdown_secs=0.5)
    async with StudioServer(
        tmp_path / "data", port=0, timings=timings, limits=Limits(register_requests=10_000)
    ) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def admin(http: aiohttp.ClientSession, studio: StudioServer) -> Admin:
    return Admin(http, studio.url, studio.admin_token)


@pytest.fixture
async def worker(http: aiohttp.ClientSession, studio: StudioServer, admin: Admin) -> RawWorker:
    return await (await RawWorker.admitted(http, studio.url, admin)).connect()


@pytest.fixture
async def dashboard(page: Page, studio: StudioServer) -> Page:
    """The dashboard, signed in by the link that the studio prints."""
    await page.open(studio.login_url())
    await page.wait_for("document.getElementById('live')?.dataset.state === 'on'")
    return page
