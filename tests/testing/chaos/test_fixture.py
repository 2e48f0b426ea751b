"""The fixture `faulty`, in a test as somebody else writes it."""

import subprocess
import sys

THEIRS = """
import pytest
from studio_worker import Config, EngineError, LlmTask, Worker

HELLO = LlmTask(messages=[{"role": "user", "content": "hello"}])

async def test_the_second_job_goes_through(faulty, tmp_path):
    async with Worker(Config(api_base_url=None, state_dir=tmp_path), engines=[faulty("crash", on_job=1)]) as worker:
        with pytest.raises(EngineError):
            await worker.submit(HELLO, model="chaos-llm")
        await worker.submit(HELLO, model="chaos-llm")

def test_two_faults_share_a_folder(faulty):
    assert faulty("slow") != faulty("hang")
"""


def test_five_lines_are_enough_for_a_crash_in_a_process(tmp_path):
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    plugins = ("-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "test_theirs.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout
