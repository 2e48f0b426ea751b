"""What a journal's file says, and results to keep in it."""

import asyncio
import sqlite3
from contextlib import closing

from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.results import Artifact
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps

ANSWER = {"text": "grüße", "language": "de", "duration": 1.5}


def rows(state, columns="job_id, stage"):
    """The rows, by job."""
    with closing(sqlite3.connect(journal_path(state))) as connection:
        return [tuple(row) for row in connection.execute(f"SELECT {columns} FROM jobs ORDER BY job_id")]


def picture_of(data=b"abc", **fields):
    """A result of bytes."""
    return Artifact(kind=TaskKind.IMAGE, size=len(data), ext="png", data=data, meta={"seed": 7}, **fields)


def film_of(made):
    """A result in a file."""
    return Artifact(kind=TaskKind.VIDEO, size=made.stat().st_size, ext="mp4", data=made)


def json_of(value=None):
    """A result of JSON."""
    value = value or ANSWER
    text = dumps(value)
    return Artifact(kind=TaskKind.AUDIO_STT, size=len(text.encode()), json=value, json_text=text)


async def is_well(journal):
    """Return once nothing is in the way of a write."""
    async with asyncio.timeout(10):
        while journal.trouble is not None:
            await asyncio.sleep(0.005)


async def spoil(journal, state):
    """Overwrite the whole file under the open connection, so that whatever it reads next is nonsense."""

    def scribble():
        connection = journal._database._connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA cache_size = 0")
        connection.execute("PRAGMA shrink_memory")
        size = journal_path(state).stat().st_size
        with journal_path(state).open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))

    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    journal._database._work.put(lambda: (scribble(), loop.call_soon_threadsafe(done.set)))
    await done.wait()
