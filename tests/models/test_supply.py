from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from studio_worker.errors import FetchFailed, ModelUnavailable
from studio_worker.fetch.disk import RESERVE_BYTES, DiskSpace
from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger

from .hub import DATA, Hub, file_of, open_store, source_of

OPTIONS = LoadOptions()
SIZE = len(DATA)


async def test_several_files_come_side_by_side_and_are_told_as_one(hub: Hub, root: Path) -> None:
    told: list[tuple[int, int | None]] = []
    model = await open_store(hub, root).provision(
        "m",
        source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin", role="vae")),
        OPTIONS,
        on_progress=lambda *numbers: told.append(numbers),
    )
    assert model.files == {"model": [root / "a.bin"], "vae": [root / "b.bin"]}
    assert told[-1] == (2 * SIZE, 2 * SIZE)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert all(total is None or done <= total for done, total in told)


async def test_more_files_than_come_at_once_are_heard_of_from_the_start(hub: Hub, root: Path) -> None:
    told: list[tuple[int, int | None]] = []
    files = [file_of(hub, f"{number}.bin", approxBytes=SIZE) for number in range(6)]
    await open_store(hub, root).provision(
        "m", source_of(*files), OPTIONS, on_progress=lambda *numbers: told.append(numbers)
    )
    assert {total for _, total in told} == {6 * SIZE}


async def test_the_failure_of_one_file_ends_the_others(hub: Hub, root: Path) -> None:
    hub.missing.add("/b.bin")
    hub.holds.add("/a.bin")
    async with asyncio.timeout(10):
        with pytest.raises(FetchFailed, match=r"model file b\.bin .* answered 404"):
            await open_store(hub, root).provision("m", source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin")), OPTIONS)
    assert not (root / "a.bin").exists()


async def test_all_files_of_a_model_are_weighed_before_the_first_one_comes(hub: Hub, root: Path) -> None:
    disk = DiskSpace(lambda folder: RESERVE_BYTES + int(SIZE * 1.5))
    files = [file_of(hub, name, approxBytes=SIZE) for name in ("a.bin", "b.bin")]
    with pytest.raises(ModelUnavailable, match="not enough disk space for 2 model files") as error:
        await open_store(hub, root, disk=disk).provision("m", source_of(*files), OPTIONS)
    assert error.value.retryable
    assert hub.ranges == []


async def test_what_has_come_already_is_not_weighed_again(hub: Hub, root: Path) -> None:
    room = RESERVE_BYTES + int(SIZE * 0.6)
    hub.script = [("cut", SIZE * 9 // 10), ("status", 401)]
    with pytest.raises(FetchFailed):
        await open_store(hub, root).provision("m", source_of(file_of(hub, "a.bin", approxBytes=SIZE)), OPTIONS)
    store = open_store(hub, root, disk=DiskSpace(lambda folder: room))
    await store.provision("m", source_of(file_of(hub, "a.bin", approxBytes=SIZE)), OPTIONS)
    with pytest.raises(ModelUnavailable, match="for 1 model file"):
        await store.provision("m", source_of(file_of(hub, "b.bin", approxBytes=SIZE)), OPTIONS)


async def test_a_new_model_takes_the_place_of_the_one_used_longest_ago(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, quota=2 * SIZE)
    for name in ("a.bin", "b.bin"):
        store.release(await store.provision(name, source_of(file_of(hub, name)), OPTIONS))
    store.release(await store.provision("a.bin", source_of(file_of(hub, "a.bin")), OPTIONS))
    await store.provision("c", source_of(file_of(hub, "c.bin")), OPTIONS)
    assert sorted(path.name for path in root.glob("*.bin")) == ["a.bin", "c.bin"]
    await store.aclose()


async def test_a_model_in_use_makes_way_for_nobody(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, quota=int(1.5 * SIZE))
    await store.provision("a", source_of(file_of(hub, "a.bin")), OPTIONS)
    with pytest.raises(ModelUnavailable, match="models_quota_gb"):
        await store.provision("b", source_of(file_of(hub, "b.bin", approxBytes=SIZE)), OPTIONS)
    assert (root / "a.bin").exists()
    await store.aclose()


async def test_a_length_that_only_the_server_tells_counts_before_the_bytes_come(hub: Hub, root: Path) -> None:
    store = open_store(hub, root, quota=SIZE // 2)
    with pytest.raises(ModelUnavailable, match="models_quota_gb"):
        await store.provision("a", source_of(file_of(hub, "a.bin")), OPTIONS)
    assert not list(root.glob("a.bin*"))
    await store.aclose()


async def test_what_was_owned_is_owned_after_a_restart(hub: Hub, root: Path, tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        store = open_store(hub, root, quota=SIZE, ledger=Ledger(tmp_path / "models.sqlite"))
        store.release(await store.provision(name, source_of(file_of(hub, name)), OPTIONS))
        await store.aclose()
    assert [path.name for path in root.glob("*.bin")] == ["b.bin"]


async def test_with_a_lost_ledger_files_of_before_are_the_operators(hub: Hub, root: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a.bin", "b.bin")):
        store = open_store(hub, root, quota=SIZE, ledger=Ledger(tmp_path / f"models-{number}.sqlite"))
        store.release(await store.provision(name, source_of(file_of(hub, name)), OPTIONS))
        await store.aclose()
    assert sorted(path.name for path in root.glob("*.bin")) == ["a.bin", "b.bin"]


@pytest.mark.parametrize("approx", [None, SIZE])
async def test_the_same_name_from_another_address_is_another_file(hub: Hub, root: Path, approx: int | None) -> None:
    store = open_store(hub, root)
    await store.provision("m", source_of(file_of(hub, "model.onnx.bin", path="/one")), OPTIONS)
    wanted = file_of(hub, "model.onnx.bin", path="/two", approxBytes=approx)
    model = await store.provision("n", source_of(wanted), OPTIONS)
    [path] = model.files["model"]
    assert path.parent.name.startswith("n-")
    await store.aclose()


async def test_files_that_lie_apart_are_given_a_folder_of_links(hub: Hub, root: Path) -> None:
    (root / "llm").mkdir()
    (root / "llm" / "a.bin").write_bytes(DATA)
    model = await open_store(hub, root).provision("m", source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin")), OPTIONS)
    assert model.dir is not None
    assert model.dir.parent == root.parent / "links"
    assert sorted(path.name for path in model.dir.iterdir()) == ["a.bin", "b.bin"]


async def test_an_unfinished_download_of_last_month_is_swept_before_the_next_one(hub: Hub, root: Path) -> None:
    part = ResumableFile(root / "old.bin")
    part.restart(Note("x"))
    part.path.write_bytes(b"some")
    for path in (part.path, root / ".downloads" / "old.bin.json"):
        os.utime(path, (1, 1))
    await open_store(hub, root).provision("m", source_of(file_of(hub, "a.bin")), OPTIONS)
    assert not part.path.exists()


async def test_an_offline_worker_connects_to_nobody_and_says_which_file_is_missing(hub: Hub, root: Path) -> None:
    (root / "a.bin").write_bytes(DATA)
    store = open_store(hub, root, settings={"is_offline": True})
    with pytest.raises(ModelUnavailable, match=r"b\.bin .* is not in .* models_offline = true asks nobody"):
        await store.provision("m", source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin")), OPTIONS)
    await store.provision("m", source_of(file_of(hub, "a.bin")), OPTIONS)
    assert hub.ranges == []


async def test_a_cancelled_model_leaves_no_file_in_use(hub: Hub, root: Path) -> None:
    hub.holds.add("/b.bin")
    ledger = Ledger()
    store = open_store(hub, root, ledger=ledger)
    task = asyncio.create_task(store.provision("m", source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin")), OPTIONS))
    while not ledger.in_use():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.aclose()
    assert ledger.in_use() == frozenset()


async def test_no_more_than_four_come_at_once(hub: Hub, root: Path) -> None:
    files = [file_of(hub, f"{number}.bin") for number in range(9)]
    await open_store(hub, root).provision("m", source_of(*files), OPTIONS)
    assert hub.busiest <= 4
    assert len(hub.ranges) == 9


async def test_jobs_that_wait_for_one_file_hold_no_other_one_up(hub: Hub, root: Path) -> None:
    hub.holds.add("/slow.bin")
    store = open_store(hub, root)
    waiting = [
        asyncio.create_task(store.provision("m", source_of(file_of(hub, "slow.bin")), OPTIONS)) for _ in range(4)
    ]
    while sum(task.get_name() == "download-slow.bin" for task in asyncio.all_tasks()) < 4:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await store.provision("n", source_of(file_of(hub, "a.bin")), OPTIONS)
    assert (root / "a.bin").read_bytes() == DATA
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_a_download_comes_though_the_models_folder_cannot_be_tidied(
    hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch, caplines: list[dict[str, object]]
) -> None:
    def sweep(*args: object, **kwargs: object) -> int:
        raise OSError("an input/output error")

    monkeypatch.setattr("studio_worker.models.supply.sweep", sweep)
    await open_store(hub, root).provision("m", source_of(file_of(hub, "a.bin")), OPTIONS)
    assert (root / "a.bin").read_bytes() == DATA
    assert [line["error"] for line in caplines if line["event"] == "models.sweep_failed"] == ["an input/output error"]


async def test_a_file_that_makes_room_takes_the_links_to_it_along(hub: Hub, root: Path) -> None:
    (root / "llm").mkdir()
    (root / "llm" / "a.bin").write_bytes(DATA)
    store = open_store(hub, root, quota=SIZE)
    model = await store.provision("m", source_of(file_of(hub, "a.bin"), file_of(hub, "b.bin")), OPTIONS)
    store.release(model)
    assert model.dir is not None
    await store.provision("n", source_of(file_of(hub, "c.bin")), OPTIONS)
    assert not (root / "b.bin").exists()
    assert not model.dir.exists()
    await store.aclose()
