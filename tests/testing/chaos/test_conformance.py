"""The two kits agree: an engine with a fault breaks the rule of the conformance kit that forbids it."""

import pytest

from studio_worker import LlmTask
from studio_worker.testing import RULES, Outcome, Sample, chaos
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.subject import Subject

HELLO = Sample(task=LlmTask(messages=[{"role": "user", "content": "hello"}], max_tokens=16), model="chaos-llm")
BROKEN = [
    ("leak", {"what": "threads", "amount": 2}, "leaves-no-threads"),
    ("leak", {"what": "files", "amount": 2}, "leaves-no-files-open"),
    ("leak", {"what": "children"}, "leaves-no-processes"),
    ("malformed", {"how": "type"}, "result-fits-kind"),
    ("malformed", {"how": "meta"}, "meta-is-json"),
    ("crash", {}, "every-kind-runs"),
]


@pytest.mark.parametrize(("fault", "options", "rule"), BROKEN, ids=lambda value: str(value)[:24])
async def test_a_fault_breaks_its_rule(in_folder, fault, options, rule):
    (chosen,) = [each for each in RULES if each.id == rule]
    factory = chaos.in_process(in_folder, fault, **options)
    async with Examination(Subject.of_engine(factory), [HELLO]) as examination:
        (trial,) = examination.trials
        report = await examination.try_rule(trial, chosen)
    assert report.outcome is Outcome.FAILED, report.message
