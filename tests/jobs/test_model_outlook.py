"""What is foretold of a job's model files is what becomes of them: same verdict, same words, same retryable."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio_worker.clock import SystemClock
from studio_worker.config import Config
from studio_worker.engines.host import Host
from studio_worker.engines.router import Routes
from studio_worker.errors import JobError
from studio_worker.fetch.disk import RESERVE_BYTES
from studio_worker.fetch.transfer import Transfer
from studio_worker.jobs.explanation import explain
from studio_worker.jobs.links import MAX_ERROR
from studio_worker.models.outlook import outlook
from studio_worker.models.places import own_folder
from studio_worker.models.settings import guard, open_store
from studio_worker.models.store import Store
from studio_worker.testing.claims import llm_claim
from studio_worker.text import escape
from studio_worker.wire.model_source import parse_model_source

from .conftest import Changes, GateEngine, Wire, _open_room

MODEL = "gate-llm"
PORT = 4_787
RIGHT = b"the right bytes of a model"
WRONG = b"other bytes under that name"
DISK_BYTES = RESERVE_BYTES + 10_000_000
"""Room for ten megabytes."""

URLS = [
    "https://models.example/a.bin?token=secret",
    "https://hub.example/a.bin",
    "https://hub.example/x/../../a.bin",
    "http://models.example/a.bin",
    "https://10.0.0.1/a.bin",
    "http://192.168.1.1/a.bin",
    f"http://127.0.0.1:{PORT}/a.bin",
    f"http://localhost:{PORT}/a.bin",
    "http://127.0.0.1:4788/a.bin",
    "https://169.254.169.254/a.bin",
    "https://me:secret@models.example/a.bin",
    "https://models.example:22/a.bin",
    "https://studio.example/graphics/api/workers/w-1",
    "ftp://models.example/a.bin",
    "file:///etc/passwd",
    "https://a b.example/",
    "",
]
NAMES = ["a.bin", "b.gguf", "A.bin", "../a.bin", "nul", "a.part", ""]
SUMS = [None, hashlib.sha256(RIGHT).hexdigest(), hashlib.sha256(RIGHT).hexdigest().upper(), "0" * 64, "no hash"]
MIRRORS: list[dict[str, Any]] = [
    {},
    {"hub.example": ("https://mirror.example/hf",)},
    {"hub.example": ("https://10.0.0.9/hf", "https://hub.example")},
    {"models.example": (f"http://127.0.0.1:{PORT}/m", "https://models.example")},
    {"models.example": (f"http://127.0.0.1:{PORT}/m",)},
]

FILES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["model", "vae"]),
        "url": st.sampled_from(URLS),
        # Most names are good, so that most examples come to the files.
        "filename": st.sampled_from([*NAMES[:2] * 4, *NAMES]),
        "approxBytes": st.sampled_from([None, 0, len(RIGHT), 5 * len(RIGHT), 6_000_000, 2**40]),
        "sha256": st.sampled_from(SUMS),
    }
)
LIES = st.sampled_from([None, None, None, RIGHT, WRONG, b"", "folder", "dangling"])
OPERATORS = st.fixed_dictionaries(
    {
        "allow_private_urls": st.booleans(),
        "models_offline": st.sampled_from([False, False, True]),
        "models_quota_gb": st.sampled_from([None, None, 0.001, 0.01]),
        "model_mirrors": st.sampled_from(MIRRORS),
    }
)


@dataclass
class Case:
    """A claim's files, what lies on the disk, and the operator's word.

    Attributes:
        files: of the claim.
        lies: what has a file's name in the models folder.
        apart: what has it in the file's own folder.
        operator: settings.
        is_folder: whether the models folder is one, and no file.
    """

    files: list[dict[str, Any]]
    lies: list[bytes | str | None] = field(default_factory=lambda: [None] * 3)
    apart: list[bytes | str | None] = field(default_factory=lambda: [None] * 3)
    operator: dict[str, Any] = field(default_factory=dict)
    is_folder: bool = True

    def config(self, state: Path, root: Path) -> Config:
        """The settings of a worker."""
        return Config(
            api_base_url="https://studio.example",
            state_dir=str(state),
            models_root=str(root),
            local_api_port=PORT,
            **self.operator,
        )

    @property
    def claim(self) -> dict[str, Any]:
        raw = llm_claim("job-1", claim_fields={"engine": "gate"})
        return {**raw, "model": MODEL, "modelSource": {"engine": "gate", "files": self.files}}

    def lay(self, root: Path) -> None:
        """Put on the disk what lies there."""
        if not self.is_folder:
            root.write_bytes(b"no folder")
            return
        root.mkdir()
        for raw, flat, apart in zip(self.files, self.lies, self.apart, strict=False):
            try:
                [file] = parse_model_source({"engine": "gate", "files": [raw]}).files
            except JobError:
                continue
            for folder, what in ((root, flat), (own_folder(root, MODEL, file), apart)):
                folder.mkdir(exist_ok=True)
                place = folder / file.filename
                if place.exists() or place.is_symlink():
                    continue
                if isinstance(what, bytes):
                    place.write_bytes(what)
                elif what == "folder":
                    place.mkdir()
                elif what == "dangling":
                    place.symlink_to("nowhere")


CASES = st.builds(
    Case,
    files=st.lists(FILES, min_size=1, max_size=3),
    lies=st.lists(LIES, min_size=3, max_size=3),
    apart=st.lists(LIES, min_size=3, max_size=3),
    operator=OPERATORS,
    is_folder=st.sampled_from([True] * 9 + [False]),
)


def file(**more: Any) -> dict[str, Any]:
    return {"role": "model", "filename": "a.bin", "url": "https://models.example/a.bin", **more}


class Asked:
    """Takes the place of the network: tells which files would be asked for, and answers nobody."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.changes = Changes()

        async def ask(transfer: Transfer, *_: object) -> None:
            self.names.add(transfer.part.dest.name)
            self.changes.tell()
            await asyncio.Event().wait()

        self.ask = ask


class NoWait(SystemClock):
    """A clock whose pauses are over at once."""

    async def sleep(self, secs: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def small_disk() -> Iterator[None]:
    """Every disk has the same room at every look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=DISK_BYTES))
        yield


@settings(deadline=None, max_examples=150)
@given(CASES)
@example(Case([file(url=f"http://127.0.0.1:{PORT}/a.bin")], operator={"allow_private_urls": True}))
@example(Case([file()], operator={"models_offline": True}))
@example(Case([file()], [b""], operator={"models_offline": True}))
@example(Case([file(sha256="0" * 64)], [WRONG], operator={"models_offline": True}))
@example(Case([file(sha256="0" * 64)], [WRONG], [WRONG]))
@example(Case([file(sha256="0" * 64, approxBytes=6_000_000)], [b"x" * 6_000_000], operator={"models_quota_gb": 0.001}))
@example(Case([file(url="https://10.0.0.1/a"), file(filename="b.bin", url="http://a.example/b")], [RIGHT]))
@example(Case([file(url="https://10.0.0.1/a", approxBytes=2**40)]))
@example(Case([file(url="https://models.example/a")], is_folder=False))
@example(Case([file(url="https://hub.example/a")], operator={"model_mirrors": MIRRORS[2]}))
@example(Case([file(sha256="0" * 64), file(filename="b.bin", approxBytes=2**40)], [WRONG]))
@example(Case([file()], operator={"model_mirrors": MIRRORS[3]}))
@example(Case([file()], operator={"model_mirrors": MIRRORS[4]}))
@pytest.mark.usefixtures("small_disk")
def test_the_outlook_is_what_a_live_job_meets(case: Case) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder, "models")
        case.lay(root)
        lay = sorted(root.rglob("*"))
        # Each remembers in a state folder of its own, as a hash that one has computed would tell the other.
        foretold = asyncio.run(told_before(case, case.config(Path(folder, "before"), root)))
        assert sorted(root.rglob("*")) == lay
        told, asked = asyncio.run(lived(case, case.config(Path(folder, "live"), root), foretold))
    if foretold.refusals:
        assert told in foretold.refusals
    else:
        assert (told, asked) == (None, foretold.coming)


@dataclass
class Foretold:
    """What is said of a case beforehand.

    Attributes:
        refusals: words and retryable of the refusal; of several where the network decides which comes first.
        coming: names of the files that would be asked for.
    """

    refusals: list[tuple[str, bool]]
    coming: set[str]


async def told_before(case: Case, config: Config) -> Foretold:
    host = Host([], given=[GateEngine()])
    found = explain(case.claim, host.descriptions, Routes.build(host.descriptions), lambda plugin: None)
    if found.plan is None or found.plan.source is None:
        assert found.refusal is not None
        return Foretold([spoken(found.refusal)], set())
    store = opened(config)
    try:
        model = await outlook(store, found.plan.model, found.plan.source)
    finally:
        await store.aclose()
    refusals = [each.refusal for each in model.files if each.refusal is not None]
    assert model.refusal is (refusals[0] if refusals else None)
    if model.no_room is not None or config.models_offline:
        # Nothing is asked for, so that no network decides.
        refusals = [each for each in (model.no_room or model.refusal,) if each is not None]
    return Foretold(
        [spoken(each) for each in refusals], {each.file.filename for each in model.files if each.state == "download"}
    )


async def lived(case: Case, config: Config, foretold: Foretold) -> tuple[tuple[str, bool] | None, set[str]]:
    """What a live job is told, None where nothing is refused; and the names of the files that were asked for."""
    asked = Asked()
    store = opened(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transfer, "_ask", asked.ask)
        async with _open_room(config.state_path, store=store) as room:
            wire = Wire()
            room.offer(wire, case.claim)
            ends = [wire.until("fail"), wire.until("reject"), wire.until("completeJson")]
            if foretold.coming and not foretold.refusals:
                ends.append(asked.changes.until(lambda: asked.names >= foretold.coming))
            await first_of(*ends)
    await store.aclose()
    told = [(each.error, each.retryable) for each in wire.of("fail")]
    # Whoever rejects an offer has it offered to others, and to this worker again.
    told += [(each.reason, True) for each in wire.of("reject")]
    return (told[0] if told else None), asked.names


def opened(config: Config) -> Store:
    """A worker's store."""
    rules = guard(config, closed=frozenset({("127.0.0.1", config.local_api_port)}))
    return open_store(lambda: config, guard=lambda: rules, user_agent="test", clock=NoWait())


def spoken(refusal: JobError) -> tuple[str, bool]:
    """A refusal as a frame tells it."""
    return escape(str(refusal), limit=MAX_ERROR), refusal.retryable


async def first_of(*awaited: Coroutine[Any, Any, object]) -> None:
    waiting = [asyncio.create_task(each) for each in awaited]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    for each in done:
        each.result()
