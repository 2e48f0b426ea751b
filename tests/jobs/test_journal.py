"""The journal of a worker without a studio: nothing is owed to anybody."""

import pytest

from studio_worker.jobs.journal import NoJournal
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.results import Artifact
from studio_worker.jobs.settlement import Done
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind


async def test_takes_every_step_of_a_local_job_and_remembers_none(entry, kept_json):
    journal = NoJournal()
    await journal.open()
    journal.accept(entry())
    journal.start(entry())
    await journal.committed(entry())
    journal.mark(kept_json(), Stage.DELIVERING)
    journal.drop(entry())
    journal.close(kept_json(), Done())
    await journal.aclose()
    assert journal.trouble is None
    assert journal.refusal("job-1", Fingerprint(text="f")) is None
    assert await journal.recall("w-1") == ()


async def test_keeps_no_result_of_a_studio(entry):
    with pytest.raises(RuntimeError, match="job-1"):
        await NoJournal().keep(entry(), Artifact(kind=TaskKind.LLM, size=2, json={}))
