"""The journal of today: rows in memory, results in a folder."""

import stat

import pytest

from studio_worker.jobs.journal import MemoryJournal
from studio_worker.jobs.results import Artifact
from studio_worker.jobs.settlement import Done
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
async def journal(tmp_path, clock):
    found = MemoryJournal(tmp_path / "state" / "spool", clock)
    await found.open()
    yield found
    await found.aclose()


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "state" / "spool"


def of_picture(data):
    return Artifact(kind=TaskKind.IMAGE, size=3, ext="png", data=data)


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
        await journal.keep(entry(), of_picture(b"abc"))


async def test_can_be_closed_twice(journal):
    await journal.aclose()
    await journal.aclose()
