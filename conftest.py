"""What holds for every test.

Where the real engines are required, a test of theirs that skips itself is a failure, and so is one that needs a tool of
the system. Generated examples are the same in
every run of CI, and no example has a deadline: the machines that run this are shared.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

REQUIRED = os.environ.get("STUDIO_WORKER_REQUIRE_REAL", "") not in ("", "0")
PLUGINS = Path(__file__).parent / "plugins"

settings.register_profile("house", deadline=None, max_examples=60, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")


def _explain(report: pytest.CollectReport | pytest.TestReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} may not be skipped while STUDIO_WORKER_REQUIRE_REAL is set: {reason}"


def _is_settled(item: pytest.Item) -> bool:
    """Whether a rule of the conformance kit has nothing to say here; what must run at all is `every-kind-runs`."""
    return getattr(item, "originalname", "") == "test_rule" and "every-kind-runs" not in item.name


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module of an engine's tests that cannot be imported here has failed."""
    report = yield
    if REQUIRED and report.skipped and PLUGINS in collector.path.parents:
        _explain(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """An engine's test that skips itself here has failed, and so has one that lacks a tool of the system."""
    report = yield
    real = PLUGINS in item.path.parents or any(item.get_closest_marker(name) for name in ("real", "needs"))
    if REQUIRED and real and report.skipped and not hasattr(report, "wasxfail") and not _is_settled(item):
        _explain(report)
    return report
