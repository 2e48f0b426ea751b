"""A worker whose engines run from environments of their own: conflicting requirements, one worker."""

import asyncio

from studio_worker import Worker
from studio_worker.wire.model_source import parse_model_source

SAYS = "import colourbox, sys; return say(job, '%s %s' % (colourbox.VERSION, sys.prefix))"


def text(answer) -> list[str]:
    return answer.json["choices"][0]["message"]["content"].split()


async def test_two_plugins_that_pin_conflicting_versions_serve_side_by_side(environments, settings, words):
    for number in (1, 2):
        environments.wheel("colourbox", f"{number}.0", f"VERSION = {number}\n")
    environments.plugin("old", SAYS, requires=("colourbox==1.0",))
    environments.plugin("new", SAYS, requires=("colourbox==2.0",))
    old, new, both = (environments.make(name) for name in ("old", "new", "both"))
    assert environments.pip(old, "plugin-old").returncode == 0
    assert environments.pip(new, "plugin-new").returncode == 0
    refused = environments.pip(both, "plugin-old", "plugin-new")
    assert (refused.returncode, "conflict" in refused.stderr + refused.stdout) == (1, True)

    config = settings(engine_environments={"first": old, "second": new}, max_concurrent_jobs=2)
    async with Worker(config) as worker:
        jobs = [
            worker.submit(words(), model="m", source=parse_model_source({"engine": name})) for name in ("old", "new")
        ]
        answers = await asyncio.gather(*jobs)
        engines = {engine.name: engine.environment for engine in worker.engines if engine.environment}
    assert [text(answer) for answer in answers] == [["1", str(old)], ["2", str(new)]]
    assert engines == {"old": "first", "new": "second"}
