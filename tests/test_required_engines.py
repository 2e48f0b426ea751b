"""Where nothing may be left out, a test of a real engine or of a tool of the system that skips itself fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = "import pytest\n\ndef test_it():\n    pytest.skip('the engine is missing')\n"
SKIPS_WHOLE = "import pytest\n\npytest.importorskip('no_such_engine')\n"
SKIPS_REAL = "import pytest\n\n@pytest.mark.real\ndef test_it():\n    pytest.skip('the engine is missing')\n"
SKIPS_TOOL = "import pytest\n\n@pytest.mark.needs('strace')\ndef test_it():\n    pytest.skip('needs strace')\n"
EXPECTED_FAILURE = "import pytest\n\n@pytest.mark.xfail\ndef test_it():\n    raise AssertionError\n"


def outcome(folder: Path, file: str, code: str, *, required: str) -> str:
    """The closing line of pytest over one file below a copy of the repository's conftest.py."""
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n  real: real\n  needs: needs\naddopts = --import-mode=importlib -q\n"
    )
    path = folder / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=os.environ | {"STUDIO_WORKER_REQUIRE_REAL": required},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("file", "code", "failed"),
    [
        ("plugins/studio-worker-x/tests/test_x.py", SKIPS, "1 failed"),
        ("plugins/studio-worker-x/tests/test_x.py", SKIPS_WHOLE, "1 error"),
        ("tests/e2e/test_x.py", SKIPS_REAL, "1 failed"),
        ("tests/faults/test_x.py", SKIPS_TOOL, "1 failed"),
    ],
    ids=["a plugin's test", "a plugin's module", "a marked test", "a test that lacks a tool of the system"],
)
def test_a_real_engines_test_may_skip_only_where_it_is_not_required(tmp_path, file, code, failed):
    assert outcome(tmp_path / "free", file, code, required="") == "1 skipped"
    assert outcome(tmp_path / "bound", file, code, required="1") == failed


@pytest.mark.parametrize(
    ("file", "code", "closing"),
    [
        ("tests/test_x.py", SKIPS, "1 skipped"),
        ("plugins/studio-worker-x/tests/test_x.py", EXPECTED_FAILURE, "1 xfailed"),
    ],
    ids=["another test that skips", "an expected failure"],
)
def test_nothing_else_is_touched(tmp_path, file, code, closing):
    assert outcome(tmp_path, file, code, required="1") == closing
