"""The journal of today: rows in memory, results in a folder."""

import asyncio
import stat

import pytest

from studio_worker.jobs.journal import MAX_AT_HAND_BYTES, MemoryJournal
from studio_worker.jobs.results import Artifact
from studio_worker.jobs.settlement import Done
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
async def journal(tmp_path, clock):
    found = MemoryJournal(tmp_path / "state" / "spool", clock, spool_after_secs=0)
    await found.open()
    yield found
    await found.aclose()


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "state" / "spool"


def of_picture(data):
    size = len(data) if isinstance(data, bytes) else 3
    return Artifact(kind=TaskKind.IMAGE, size=size, ext="png", data=data)


async def in_its_file(kept):
    """Wait until small bytes have left the memory."""
    while kept.at_hand is not None:
        await asyncio.sleep(0)


async def test_knows_an_accepted_job_until_it_is_dropped(journal, entry):
    journal.accept(entry())
    await journal.committed(entry())
    assert journal.owed == ("job-1",)
    journal.drop(entry())
    assert journal.owed == ()


async def test_dropping_what_it_does_not_know_changes_nothing(journal, entry):
    journal.accept(entry("other"))
    journal.drop(entry())
    assert journal.owed == ("other",)


async def test_keeps_bytes_in_a_file_whose_name_tells_nothing_of_the_job(journal, entry, spool):
    kept = await journal.keep(entry(), of_picture(b"abc"))
    await in_its_file(kept)
    assert kept.file.read_bytes() == b"abc"
    assert kept.file.parent == spool
    assert "job" not in kept.file.name
    assert kept.kept_at == 1_000


async def test_takes_a_file_out_of_the_jobs_folder(journal, entry, tmp_path):
    made = tmp_path / "made.png"
    made.write_bytes(b"abc")
    kept = await journal.keep(entry(), of_picture(made))
    assert kept.file.read_bytes() == b"abc"
    assert not made.exists()


async def test_keeps_json_without_touching_the_disk(journal, entry, spool):
    kept = await journal.keep(entry(kind=TaskKind.LLM), Artifact(kind=TaskKind.LLM, size=2, json={}))
    assert kept.artifact.json == {}
    assert list(spool.iterdir()) == []
    with pytest.raises(TypeError, match="job-1"):
        _ = kept.file


async def test_forgets_row_and_file_of_a_settled_result(journal, entry, spool):
    journal.accept(entry())
    kept = await journal.keep(entry(), of_picture(b"abc"))
    journal.close(kept, Done())
    assert journal.owed == ()
    await journal.aclose()
    assert list(spool.iterdir()) == []


async def test_removes_what_an_earlier_process_left(tmp_path, clock, spool):
    spool.mkdir(parents=True)
    (spool / "old").write_bytes(b"x")
    journal = MemoryJournal(spool, clock)
    await journal.open()
    assert list(spool.iterdir()) == []
    await journal.aclose()


async def test_keeps_its_folder_to_itself(journal, spool):
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


async def test_says_so_where_the_spool_cannot_be_written(journal, entry, spool):
    spool.rmdir()
    with pytest.raises(OSError, match="spool"):
        await journal.keep(entry(), of_picture(bytes(MAX_AT_HAND_BYTES + 1)))


async def test_holds_small_bytes_in_memory_where_the_spool_cannot_be_written(journal, entry, spool):
    spool.rmdir()
    kept = await journal.keep(entry(), of_picture(b"abc"))
    # A larger result waits for the one file thread, so the small one's try is over when it comes back.
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="spool"):
        await journal.keep(entry(), of_picture(bytes(MAX_AT_HAND_BYTES + 1)))
    assert kept.at_hand == b"abc"


async def test_lets_go_of_small_bytes_once_they_are_in_their_file(journal, entry):
    kept = await journal.keep(entry(), of_picture(b"abc"))
    assert kept.at_hand == b"abc"
    await in_its_file(kept)
    assert kept.file.read_bytes() == b"abc"


async def test_never_writes_what_is_settled_before_its_file_is_due(tmp_path, clock, entry):
    journal = MemoryJournal(tmp_path / "spool", clock, spool_after_secs=60)
    await journal.open()
    kept = await journal.keep(entry(), of_picture(b"abc"))
    journal.close(kept, Done())
    await journal.aclose()
    assert list((tmp_path / "spool").iterdir()) == []


async def test_can_be_closed_twice(journal):
    await journal.aclose()
    await journal.aclose()
