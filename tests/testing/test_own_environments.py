"""The conformance kit on plugins that could never be installed side by side."""

import asyncio

from studio_worker.engines.environments import look_into
from studio_worker.testing.conformance.check import check_plugin
from studio_worker.testing.conformance.report import Outcome
from studio_worker.testing.conformance.samples import Sample
from studio_worker.wire.tasks import parse_task

WORDS = parse_task({"kind": "llm", "messages": [{"role": "user", "content": "hello"}]})


async def test_two_plugins_that_pin_conflicting_versions_both_pass(environments):
    homes = {}
    for name, number in (("old", 1), ("new", 2)):
        environments.wheel("colourbox", f"{number}.0", f"VERSION = {number}\n")
        body = f"import colourbox; assert colourbox.VERSION == {number}; return say(job, 'hello')"
        homes[name] = environments.serving(name, body, requires=(f"colourbox=={number}.0",))
        environments.unpack(homes[name], "colourbox", f"{number}.0")

    async def check(name):
        (ref,) = (await look_into(name, homes[name], timeout_secs=60.0)).plugins
        return await check_plugin(ref, [Sample(task=WORDS, model="m")])

    for report in await asyncio.gather(*map(check, homes)):
        (engine,) = report.engines
        broken = [f"{rule.rule}: {rule.message}" for rule in engine.rules if rule.outcome is Outcome.FAILED]
        assert (report.passed, broken) == (True, [])
