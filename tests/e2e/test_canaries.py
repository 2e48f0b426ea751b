"""No secret of a worker or of a studio is anywhere but in the one place that holds it: shown by a run with canaries."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import trustme

from studio_worker.testing.frame_toxics import Listen
from studio_worker.testing.raw_worker import Admin
from studio_worker.testing.toxics import ToxicProxy

from .canaries import ProcessWatch, Search

HUB_TOKEN = 'hf_canary-1/+"\\%&=7b'
NEXT_HUB_TOKEN = 'hf_canary-2/+"\\%&=c1'
VARIABLE_TOKEN = 'hf_canary-3/+"\\%&=04'
BAD_TOKEN = "hf_canary-4 with spaces"
PLUGIN_KEY = 'canary-5/+"\\%&=9e ä'
ADMIN_TOKEN = 'admin-canary-6/+"\\%&=d8'

CONFIG = f"""
hf_token = {json.dumps(HUB_TOKEN)}

[plugins.witness]
api_key = {json.dumps(PLUGIN_KEY)}
"""

WITNESS = '''
import json
import os
import sys
import time
from pathlib import Path

from studio_worker import Engine, EngineCapabilities, EngineError, LlmResult, TaskKind, UnsupportedTask, hookimpl


class Witness(Engine):
    """Tells what its process was given, and talks of its own key as libraries do."""

    name = "witness"
    sources = ("witness",)

    def __init__(self, key):
        self.key = key

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["witness-llm"]})

    def run(self, job):
        word, _, rest = job.task.messages[-1].content.partition(" ")
        match word:
            case "unknown":
                raise UnsupportedTask(f"no model {job.model} here")
            case "quote":
                raise EngineError(f"401 for https://api.example/v1?key={self.key}")
            case "raise":
                raise RuntimeError({"headers": {"x-api-key": self.key}})
            case "log":
                job.log.bind(answer=self.key).warning("The server said no")
                job.progress(1, 2, stage=f"with {self.key}")
                print("printed", self.key)
            case "die":
                print("last words", self.key, file=sys.stderr, flush=True)
                os.abort()
            case "wait":
                while Path(rest).exists():
                    time.sleep(0.01)
        seen = json.dumps({"environ": dict(os.environ), "argv": sys.argv})
        return LlmResult.of(seen, model=job.model, prompt_tokens=1, completion_tokens=1)


@hookimpl
def studio_worker_engines(config):
    return [Witness(config.plugin["api_key"])]
'''

NAMES = """
import socket

found = socket.getaddrinfo


def getaddrinfo(host, *rest, **more):
    return found("93.184.216.34" if host == "huggingface.co" else host, *rest, **more)


socket.getaddrinfo = getaddrinfo
"""
"""What Python imports at its start there: the hub's name has an address, and no server of names is asked for it."""


@dataclass
class Hub:
    """Says to be huggingface.co, takes no token, and gives back what it was sent wherever an answer has room for it."""

    tokens: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = request.split(" ")[1]
        _, _, said = request.partition("Authorization: ")
        said = said.partition("\r\n")[0]
        self.tokens.append(said.removeprefix("Bearer "))
        token = self.tokens[-1]
        coded = urlsafe_b64encode(f"user:{token}".encode()).decode()
        status = f"{path.rpartition('/')[2]} {said} {coded}" if path.startswith("/say/") else "404 Not Found"
        if path == "/move":
            status = "302 Found"
        body = json.dumps({"error": f"{said} is not accepted", "again": b64encode(said.encode()).decode()})
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\nContent-Type: application/json\r\n"
            f'WWW-Authenticate: Bearer realm="{quote(said)}"\r\nETag: "{quote(token)}"\r\n'
            f"Location: https://huggingface.co/{quote(token, safe='')}/a.bin?token={quote(token)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def hub(folder: Path) -> AsyncIterator[tuple[Hub, dict[str, str]]]:
    """The hub, and the environment in which a process finds it and trusts its certificate."""
    authority, made = trustme.CA(), Hub()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("huggingface.co").configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "authority.pem")

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(tls)
        await made.serve(reader, writer)

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield made, {"https_proxy": f"http://127.0.0.1:{port}", "SSL_CERT_FILE": str(folder / "authority.pem")}
    server.close()


@pytest.fixture
def witness(site: Path) -> Path:
    """The site with the witness in it."""
    info = site / "studio_worker_witness-1.0.dist-info"
    info.mkdir()
    (site / "studio_worker_witness.py").write_text(WITNESS)
    (site / "sitecustomize.py").write_text(NAMES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker-witness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[studio_worker]\nwitness = studio_worker_witness\n")
    return site


def words(job_id: str, text: str, *urls: str) -> dict[str, Any]:
    files = [{"role": "model", "url": url, "filename": f"{job_id}.bin"} for url in urls]
    source = {"engine": "witness", "files": files}
    task = {"kind": "llm", "messages": [{"role": "user", "content": text}]}
    return {"id": job_id, "model": "witness-llm", "modelSource": source, "task": task}


def picture(job_id: str) -> dict[str, Any]:
    task = {"kind": "image", "prompt": "a cup", "width": 32, "height": 24, "ext": "png"}
    return {"id": job_id, "model": "m", "modelSource": {"engine": "synthetic", "files": []}, "task": task}


async def until(ready: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := ready()):
            await asyncio.sleep(0.01)
    return found


def read(path: Path, key: str) -> Any:
    """A member of a JSON file; None where it is not there yet."""
    try:
        return json.loads(path.read_text()).get(key)
    except (OSError, ValueError):
        return None


class Play:
    """The worker's machine, its studio, and all that is to be looked through at the end."""

    def __init__(self, machine: Any, folder: Path) -> None:
        self.machine = machine
        self.folder = folder
        self.data = folder / "data"
        self.search = Search(
            {
                "the hub's token": HUB_TOKEN,
                "the hub's next token": NEXT_HUB_TOKEN,
                "the hub's token of the environment": VARIABLE_TOKEN,
                "a token that is none": BAD_TOKEN,
                "the plugin's key": PLUGIN_KEY,
                "the admin token": ADMIN_TOKEN,
            }
        )
        self.given: set[int] = set()
        """Processes that the test gave a secret in their environment."""
        self.at_home: set[str] = set()

    async def start(self, *arguments: str, **environ: str) -> Any:
        process = await self.machine.start(*arguments, **environ)
        if set(environ.values()) & set(self.search.secrets.values()):
            self.given.add(process.process.pid)
        return process

    async def command(self, *arguments: str, code: int = 0, **environ: str) -> str:
        process = await self.start(*arguments, **environ)
        assert await process.code() == code, process.said
        return "\n".join(process.stdout)

    def look_at_files(self) -> None:
        """The files that may hold a secret, and which; every other file of both sides may hold none."""
        settings = self.machine.config_file.parent.relative_to(self.folder)
        state = self.machine.state.relative_to(self.folder)
        homes = {
            # The operator wrote them there.
            str(settings / "config.toml"): {"the hub's token", "the hub's next token", "the plugin's key"},
            # The worker signs in with them after a restart.
            str(state / "credentials.json"): {"the worker's token", "the registration secret"},
            # Commands of the same user find the running worker by it.
            str(settings / "local-api.json"): {"the local token", "the local token of before"},
            # Commands of the studio's operator sign in with it.
            str(self.data.relative_to(self.folder) / "admin.json"): {"the admin token"},
            # Cookies and links are signed with it.
            str(self.data.relative_to(self.folder) / "signing.key"): {"the signing key"},
        }
        self.at_home |= self.search.folder(self.folder, {name: frozenset(held) for name, held in homes.items()})


def look_at_wire(search: Search, listeners: tuple[Listen, Listen]) -> int:
    """Look through all that worker and studio said; returns how often a secret was where the protocol has it.

    That is the Authorization header, `authToken` of hello, and that of the answer that admits the worker.
    """
    by_right = 0
    for listen in listeners:
        for pieces in listen.heard.values():
            said = b"\0".join(pieces)
            for secret in (search.secrets["the worker's token"], search.secrets["the registration secret"]):
                header, member = f"Authorization: Bearer {secret}\r\n", f'"authToken":"{secret}"'
                for form in (header, member, member.replace(":", ": ")):
                    by_right += said.count(form.encode())
                    said = said.replace(form.encode(), b"")
            search.text(f"what went {listen.way}", said)
    return by_right


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: what processes show is read from /proc")
@pytest.mark.timeout(300)
async def test_no_secret_is_anywhere_but_in_the_one_place_that_holds_it(
    witness: Path, machine: Any, tmp_path: Path
) -> None:
    play = Play(machine, tmp_path)
    search, secrets = play.search, play.search.secrets
    machine.configure(CONFIG)
    discovery = machine.config_file.parent / "local-api.json"
    (tmp_path / "tmp").mkdir()
    machine.environ |= {"TMPDIR": str(tmp_path / "tmp")}
    play.data.mkdir(mode=0o700)
    admin_file = play.data / "admin.json"
    admin_file.touch(0o600)
    admin_file.write_text(json.dumps({"url": "", "token": ADMIN_TOKEN}))
    hold = tmp_path / "hold"
    hold.touch()
    claim = tmp_path / "claim.json"
    claim.write_text(json.dumps(words("explained", "hello", "https://huggingface.co/m/a.bin")))

    with ProcessWatch() as processes:
        loud = ("--log-level", "debug", "--log-json")
        studio = await play.start(*loud, "studio", "--port", "0", "--data", str(play.data), "--max-attempts", "1")
        url = (await studio.says("a worker joins by")).split("API_BASE_URL=")[1].split()[0]
        secrets["the signing key"] = (play.data / "signing.key").read_text().strip()
        assert read(admin_file, "token") == ADMIN_TOKEN
        listeners = Listen("up"), Listen("down")
        async with (
            aiohttp.ClientSession() as http,
            hub(tmp_path) as (there, way_there),
            ToxicProxy(int(url.rpartition(":")[2])) as proxy,
        ):
            proxy.toxics = listeners
            machine.environ |= {"STUDIO_WORKER_API_BASE_URL": proxy.url, "no_proxy": "127.0.0.1", **way_there}
            admin = Admin(http, url, ADMIN_TOKEN)
            worker = await play.start(*loud, "run")
            await worker.says("waiting for approval")
            secrets["the registration secret"] = machine.credentials["registration_secret"]
            play.look_at_files()
            (pending,) = await admin.get("/workers/pending")
            await admin.call("POST", f"/workers/pending/{pending['requestId']}/approve")
            await worker.says("The studio said welcome")
            secrets["the worker's token"] = machine.credentials["auth_token"]
            secrets["the local token of before"] = await until(lambda: read(discovery, "token"))

            await admin.add(words("environ", "hello"))
            await admin.add(picture("picture"))
            for job_id in ("environ", "picture"):
                await admin.until(job_id, "done")
            await admin.add(words("log", "log"))
            await admin.until("log", "done")
            for job_id in ("unknown", "quote", "raise", "die"):
                await admin.add(words(job_id, job_id))
                await admin.until(job_id, "failed")
            for way in ("say/401", "say/403", "say/400", "say/410", "move"):
                job_id = f"hub-{way.replace('/', '-')}"
                await admin.add(words(job_id, "hello", f"https://huggingface.co/{way}"))
                await admin.until(job_id, "failed")
            assert set(there.tokens) == {HUB_TOKEN}

            await play.command(*loud, "config", "set", "hf_token", "-", stdin=f"{NEXT_HUB_TOKEN}\n")
            await worker.says("config.changed")
            await admin.add(words("changed", "hello", "https://huggingface.co/say/401"))
            await admin.until("changed", "failed")
            assert there.tokens[-1] == NEXT_HUB_TOKEN

            await admin.add(words("held", f"wait {hold}"))
            await admin.until("held", "claimed")
            play.look_at_files()
            explain = ("explain", "--claim", str(claim))
            for command in (("status",), ("config",), ("jobs", "--local"), explain, ("engines",)):
                await play.command(*command)
                await play.command(*loud, *command, "--json")
            await play.command("config", "get", "hf_token")
            await play.command("config", "get", "plugins.witness", "--json")
            await play.command(*loud, "config", code=78, STUDIO_WORKER_HF_TOKEN=BAD_TOKEN)
            await play.command(*loud, "jobs", "list", "--json", "--admin-file", str(play.data))
            await play.command("jobs", "list", "--studio", url, STUDIO_WORKER_ADMIN_TOKEN=ADMIN_TOKEN)
            worker.signal(signal.SIGKILL)
            await worker.code()
            play.look_at_files()

            again = await play.start("--log-level", "debug", "run", HF_TOKEN=VARIABLE_TOKEN)
            await again.says("The studio said welcome")
            secrets["the local token"] = await until(lambda: read(discovery, "token"))
            hold.unlink()
            if (await admin.job("held"))["state"] == "failed":
                await admin.call("POST", "/jobs/held/retry")
            await admin.until("held", "done")
            await admin.add(words("again", "hello", "https://huggingface.co/say/400"))
            await admin.until("again", "failed")
            assert there.tokens[-1] == VARIABLE_TOKEN
            play.look_at_files()
            shown = json.dumps([await admin.get("/jobs"), await admin.get("/workers")])
            again.signal(signal.SIGTERM)
            assert await again.code() == 0
        studio.signal(signal.SIGTERM)
        assert await studio.code() == 0
    play.look_at_files()

    assert play.at_home == set(secrets) - {"the hub's token of the environment", "a token that is none"}
    assert look_at_wire(search, listeners) > 4
    heard = b"".join(piece for pieces in listeners[0].heard.values() for piece in pieces)
    assert all(f'"type":"{kind}"'.encode() in heard for kind in ("hello", "fail", "completeJson", "logBatch"))
    search.text("the studio's jobs and workers", shown)
    for process in machine.processes:
        search.text("stdout", "\n".join(process.stdout))
        search.text("stderr", "\n".join(process.stderr))
    engines = 0
    for (pid, command), (environ, title) in processes.seen.items():
        search.text("a command line", command)
        search.text("a process's title", title)
        if pid not in play.given:
            search.text("a child's environment", environ)
            engines += b"studio_worker.engines.child" in command
    assert engines > 3
    assert "witness" in shown
    assert not search.found, "\n".join(sorted(search.found))


@pytest.mark.parametrize("secret", [HUB_TOKEN, PLUGIN_KEY, "0123456789abcdef" * 4])
def test_the_search_knows_a_secret_in_every_disguise(tmp_path: Path, secret: str) -> None:
    disguised = [
        secret,
        quote(secret),
        re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
        json.dumps({"error": f"no: {secret}"}),
        json.dumps(json.dumps([secret])),
        repr(secret),
        secret.encode().hex(),
        *(b64encode(f"{before}{secret}c".encode()).decode() for before in ("", "a", "ab")),
        b64encode(secret.encode()).decode(),
        urlsafe_b64encode(f"user:{secret}".encode()).decode(),
    ]
    for number, text in enumerate(disguised):
        search = Search({"it": secret})
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").write_text(f"before{text}behind")
        assert search.folder(tmp_path / str(number), {}) == set()
        assert search.found, text
    harmless = Search({"it": secret})
    harmless.text("somewhere", "hf_canary is no secret, and neither is 0123456789abcde")
    assert harmless.found == set()
