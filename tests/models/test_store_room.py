"""Whether a model's files would fit, told before anybody promises to bring them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.disk import RESERVE_BYTES, DiskSpace
from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.places import own_folder
from studio_worker.models.shelf import look
from studio_worker.models.store import Store
from studio_worker.wire.model_source import ModelFile, ModelSource

from .hub import DATA, Hub, file_of, open_store, source_of

SIZE = len(DATA)


def room_for(size: int) -> DiskSpace:
    """A disk that has room for so many bytes, with what has to stay free."""
    return DiskSpace(lambda folder: RESERVE_BYTES + int(size * 1.05))


def source(hub: Hub, *names: str, **more: Any) -> ModelSource:
    return source_of(*(file_of(hub, name, **{"approxBytes": SIZE, **more}) for name in names))


def own(ledger: Ledger, path: Path, size: int, *, model: str = "old", now: float = 1.0) -> Path:
    """A download of the worker's."""
    path.write_bytes(b"x" * size)
    found = look(path)
    assert isinstance(found, Seen)
    ledger.own(found, sha256="a" * 64, url="", model=model, now=now)
    return path


async def refused(store: Store, made: ModelSource, model: str = "m") -> str:
    with pytest.raises(ModelUnavailable) as error:
        await store.check_room(model, made)
    return str(error.value)


async def test_what_fits_is_not_refused_and_nothing_is_asked_for(hub: Hub, root: Path) -> None:
    await open_store(hub, root, disk=room_for(2 * SIZE)).check_room("m", source(hub, "a.bin", "b.bin"))
    assert hub.ranges == []
    assert list(root.iterdir()) == []


async def test_what_does_not_fit_is_refused_with_both_numbers(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, disk=room_for(2 * SIZE - 1))
    problem = await refused(store, source(hub, "a.bin", "b.bin"))
    assert "not enough disk space for 2 model files" in problem
    assert f"{int(2 * SIZE * 1.05) + RESERVE_BYTES:,} bytes are needed" in problem


async def test_what_is_here_needs_no_room_and_is_not_hashed_for_that(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_worker.models.shelf.hash_of", lambda *_: pytest.fail("hashed"))
    (root / "llm").mkdir()
    (root / "llm" / "a.bin").write_bytes(DATA)
    made = source(hub, "a.bin", sha256=hashlib.sha256(DATA).hexdigest())
    await open_store(hub, root, disk=room_for(-1)).check_room("m", made)


async def test_a_file_that_is_known_to_be_another_one_needs_its_room(hub: Hub, root: Path) -> None:
    ledger = Ledger()
    own(ledger, root / "a.bin", SIZE)
    store = open_store(hub, root, disk=room_for(SIZE - 1), ledger=ledger)
    assert "1 model file:" in await refused(store, source(hub, "a.bin", sha256="b" * 64))
    (root / "b.bin").write_bytes(b"x" * 10)
    assert "1 model file:" in await refused(store, source(hub, "b.bin"))


async def test_a_part_needs_room_for_the_rest_alone_wherever_it_lies(hub: Hub, root: Path) -> None:
    def begin(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        part = ResumableFile(folder / "a.bin")
        part.restart(Note("x"))
        part.path.write_bytes(DATA[: SIZE - 1_000])

    begin(root)
    store = open_store(hub, root, disk=room_for(1_000))
    await store.check_room("m", source(hub, "a.bin"))
    ResumableFile(root / "a.bin").discard()
    await refused(store, source(hub, "a.bin"))
    (root / "a.bin").write_bytes(b"another file of this name")
    [file] = source(hub, "a.bin").files
    begin(own_folder(root, "m", file))
    await store.check_room("m", source(hub, "a.bin"))


async def test_a_file_of_which_nobody_says_how_long_it_is_wants_the_reserve(hub: Hub, root: Path) -> None:
    made = source(hub, "a.bin", approxBytes=None)
    await open_store(hub, root, disk=room_for(2)).check_room("m", made)
    await refused(open_store(hub, root, disk=room_for(-2)), made)


async def test_what_the_quota_would_let_go_counts_as_room_and_stays(hub: Hub, root: Path) -> None:
    ledger = Ledger()
    old = own(ledger, root / "old.bin", SIZE)
    made = source(hub, "a.bin")
    disk = room_for(SIZE // 20)
    await open_store(hub, root, disk=disk, quota=SIZE, ledger=ledger).check_room("m", made)
    assert old.exists()
    for quota in (None, 2 * SIZE):
        await refused(open_store(hub, root, disk=disk, quota=quota, ledger=ledger), made)


async def test_what_the_quota_has_no_room_for_is_refused(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, disk=room_for(10 * SIZE), quota=SIZE - 1)
    assert "models_quota_gb" in await refused(store, source(hub, "a.bin"))


async def test_the_models_own_files_make_no_room_for_it(hub: Hub, root: Path) -> None:
    ledger = Ledger()
    own(ledger, root / "a.bin", SIZE, model="m")
    store = open_store(hub, root, disk=room_for(10 * SIZE), quota=SIZE, ledger=ledger)
    assert "models_quota_gb" in await refused(store, source(hub, "a.bin", "b.bin", sha256="a" * 64))


async def test_a_file_that_is_on_its_way_has_its_room_already(hub: Hub, root: Path) -> None:
    hub.holds.add("/a.bin")
    store = open_store(hub, root, disk=room_for(SIZE))
    made = source(hub, "a.bin")
    told = asyncio.Event()
    first = asyncio.create_task(store.provision("m", made, LoadOptions(), on_progress=lambda *_: told.set()))
    async with asyncio.timeout(30):
        await told.wait()
    await store.check_room("other", made)
    await refused(store, source(hub, "b.bin"))
    # Nor does a job that was accepted since and waits for the same file.
    supply = store._supply
    assert supply is not None
    await asyncio.to_thread(supply._make_room, "other", made.files, root, [])
    first.cancel()
    await asyncio.wait([first])


async def test_a_job_without_files_and_one_that_asks_nobody_have_nothing_to_look_at(hub: Hub, root: Path) -> None:
    store = open_store(hub, root)
    assert store.needs_room("m", source(hub, "a.bin"))
    assert not store.needs_room("m", None)
    assert not store.needs_room("m", source_of())
    assert not open_store(hub, root, settings={"is_offline": True}).needs_room("m", source(hub, "a.bin"))
    assert not Store(lambda: root).needs_room("m", source(hub, "a.bin"))


async def test_what_a_job_has_had_is_known_to_be_here_until_the_quota_takes_a_file(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, quota=int(SIZE * 1.5))
    store.release(await store.provision("m", source(hub, "a.bin"), LoadOptions()))
    await settled(store)
    assert not store.needs_room("m", source(hub, "a.bin"))
    assert store.needs_room("m", source(hub, "b.bin"))
    store.release(await store.provision("m", source(hub, "b.bin"), LoadOptions()))
    assert not (root / "a.bin").exists()
    assert store.needs_room("m", source(hub, "a.bin"))
    assert not store.needs_room("m", source(hub, "b.bin"))
    await store.aclose()


async def test_what_is_known_to_be_here_is_doubted_when_a_job_misses_it(hub: Hub, root: Path) -> None:
    store = open_store(hub, root)
    await store.provision("m", source(hub, "a.bin"), LoadOptions())
    (root / "a.bin").unlink()
    hub.missing.add("/a.bin")
    with pytest.raises(Exception, match="404"):
        await store.provision("m", source(hub, "a.bin"), LoadOptions())
    assert store.needs_room("m", source(hub, "a.bin"))


async def settled(store: Store) -> None:
    """Return once the store has written down that a release is over."""
    while store._ending:
        await asyncio.wait(store._ending)


async def test_a_disk_of_which_nobody_knows_the_room_is_no_reason_to_refuse(hub: Hub, root: Path) -> None:
    def fail(folder: Path) -> int:
        raise OSError(5, "Input/output error")

    await open_store(hub, root, disk=DiskSpace(fail)).check_room("m", source(hub, "a.bin"))


async def test_a_name_that_is_no_name_is_left_to_the_job(hub: Hub, root: Path) -> None:
    [file] = source(hub, "a.bin").files
    made = ModelSource(engine="onnx", files=(ModelFile.model_construct(**file.__dict__ | {"filename": "../a"}),))
    await open_store(hub, root, disk=room_for(-5)).check_room("m", made)


async def on_its_way(hub: Hub, store: Store, made: ModelSource) -> asyncio.Task[object]:
    """A job of model `m` whose file has been asked for and never comes."""
    [file] = made.files
    hub.holds.add(file.url.removeprefix(hub.origin).partition("?")[0])
    task = asyncio.create_task(store.provision("m", made, LoadOptions()))
    while not hub.ranges:
        await asyncio.sleep(0.01)
    return task


def of_one_name(hub: Hub) -> tuple[ModelSource, ModelSource]:
    """Two files that have nothing but their name in common."""
    one, other = (file_of(hub, "model.bin", path=path, approxBytes=SIZE) for path in ("/one", "/other"))
    return source_of(one), source_of(other)


async def test_two_files_of_one_name_on_their_way_count_as_two_for_the_quota(hub: Hub, root: Path) -> None:
    one, other = of_one_name(hub)
    store = open_store(hub, root, quota=SIZE * 3 // 2)
    first = await on_its_way(hub, store, one)
    async with asyncio.timeout(10):
        with pytest.raises(ModelUnavailable, match="models_quota_gb"):
            await store.provision("n", other, LoadOptions())
    first.cancel()
    await asyncio.wait([first])


async def test_two_files_of_one_name_on_their_way_count_as_two_for_the_disk(hub: Hub, root: Path) -> None:
    one, other = of_one_name(hub)
    room = SIZE
    store = open_store(hub, root, disk=DiskSpace(lambda folder: RESERVE_BYTES + int(room * 1.05)))
    first = await on_its_way(hub, store, one)
    room = SIZE - 1
    await store.check_room("n", one)
    assert "for 1 model file" in await refused(store, other, "n")
    async with asyncio.timeout(10):
        with pytest.raises(ModelUnavailable, match="for 1 model file"):
            await store.provision("n", other, LoadOptions())
    first.cancel()
    await asyncio.wait([first])
