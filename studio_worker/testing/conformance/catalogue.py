"""All rules, in the order in which they are tried: what is cheap and what others rest on comes first."""

from __future__ import annotations

from studio_worker.engines.certificates import ESSENTIAL
from studio_worker.testing.conformance.rule import Rule
from studio_worker.testing.conformance.rules import describing, endurance, manners, promises, refusals, running

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
    Rule("leaves-job-alone", "leaves the job's task and files as they are", manners.leaves_job_alone),
    Rule("leaves-surroundings-alone", "leaves its process as it found it", manners.leaves_surroundings_alone),
    Rule("progress-is-sane", "tells progress that makes sense", manners.progress_is_sane),
    Rule("meta-is-json", "keeps to JSON in job.meta", running.meta_is_json),
    Rule("estimates-bytes", "estimates in bytes", promises.estimates_bytes),
    Rule("stream-adds-up", "streams pieces that are the result", promises.stream_adds_up),
    Rule("deterministic", "makes the same bytes of the same seed, where it says so", promises.is_deterministic),
    Rule("runs-side-by-side", "runs as many jobs at once as it says", promises.runs_side_by_side),
    Rule("runs-as-declared", "runs with the isolation that it asks for", promises.runs_as_declared),
    Rule("any-text", "takes any text, or refuses it as bad input", refusals.takes_any_text),
    Rule("names-its-format", "calls a result what it is, whatever was asked for", refusals.names_its_format),
    Rule("refuses-bad-input", "refuses odd inputs for good, and goes on", refusals.refuses_bad_input),
    Rule("refuses-bad-model", "refuses files that are no model for good", refusals.refuses_bad_model),
    Rule("heeds-cancel", "ends a cancelled job soon", manners.heeds_cancel),
    Rule("lets-cancelled-through", "swallows no Cancelled", manners.lets_cancelled_through),
    Rule("leaves-loop-free", "never blocks the event loop", manners.leaves_loop_free),
    Rule("is-quiet", "prints little", manners.is_quiet),
    Rule("survives-ten-runs", "runs the same job ten times in a row", endurance.survives_many_runs),
    Rule("keeps-its-size", "does not grow from job to job", endurance.keeps_its_size),
    Rule("leaves-no-threads", "leaves no threads behind", endurance.leaves_no_threads),
    Rule("leaves-no-files-open", "leaves no files open", endurance.leaves_no_files_open),
    Rule("leaves-no-processes", "leaves no processes behind", endurance.leaves_no_processes),
    Rule("leaves-no-litter", "writes into the job's folder alone", endurance.leaves_no_litter),
    Rule("frees-its-model", "gives back in unload what load took", endurance.frees_its_model),
)
"""Every rule of the kit."""
