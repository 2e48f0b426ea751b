"""All rules, in the order in which they are tried: what is cheap and what others rest on comes first."""

from __future__ import annotations

from studio_worker.testing.conformance.report import ESSENTIAL
from studio_worker.testing.conformance.rule import Rule
from studio_worker.testing.conformance.rules import describing, running

RULES: tuple[Rule, ...] = (
    Rule("describes", "describes itself within the worker's limit", describing.describes),
    Rule("valid-description", "says nothing of itself that the worker refuses", describing.is_valid),
    Rule("describes-alike", "says the same each time it is asked", describing.describes_alike),
    Rule("light-import", "imports nothing heavy with its entry point", describing.imports_lightly),
    Rule("light-description", "imports nothing heavy to describe itself", describing.describes_lightly),
    Rule("says-why-not", "says why it cannot run, and the remedy", describing.says_why_not),
    Rule(ESSENTIAL, "runs a sample of every kind that it advertises", running.every_kind_runs),
    Rule("run-fits-isolation", "has an async run on the loop, a plain one elsewhere", running.run_fits_isolation),
    Rule("result-fits-kind", "returns the result type of the job's kind", running.result_fits_kind),
    Rule("result-can-be-used", "returns what decodes and is what was asked for", running.result_can_be_used),
    Rule("meta-is-json", "keeps to JSON in job.meta", running.meta_is_json),
)
"""Every rule of the kit."""
