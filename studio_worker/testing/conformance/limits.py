"""How long, how often and how much: the bounds that the rules measure by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that are generous on any machine; tests of the kit itself make them smaller.

    Attributes:
        describe_secs: from the start of a child to the description (the worker's own limit).
        import_secs: what importing the entry point may add to the start of a bare child.
        run_secs: the longest that one run of a sample may take, its load included.
        cancel_secs: from the cancel flag to the end of the job.
        block_secs: the longest that a `loop` engine may keep the event loop from others.
        runs: how often a sample is run in a row.
        growth_bytes: what the engine's memory may grow by over those runs.
        growth_per_run_bytes: what it may grow by from run to run, where it does so run for run.
        noise_bytes: what memory comes and goes by though nothing is kept.
        printed_bytes: what one job may print.
        files: how many files, threads or children more, over those runs, are a leak.
    """

    describe_secs: float = 10.0
    import_secs: float = 2.0
    run_secs: float = 300.0
    cancel_secs: float = 5.0
    block_secs: float = 1.0
    runs: int = 10
    growth_bytes: int = 64 * 1024 * 1024
    growth_per_run_bytes: int = 1024 * 1024
    noise_bytes: int = 4 * 1024 * 1024
    printed_bytes: int = 256 * 1024
    files: int = 4
