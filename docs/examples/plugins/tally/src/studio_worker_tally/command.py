"""`studio-worker tally`: jobs and seconds by engine and kind."""

from __future__ import annotations

import json
from collections import defaultdict
from statistics import median
from typing import Any

import click

from studio_worker_tally import book


@click.command(epilog="Example: studio-worker tally --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def tally(as_json: bool) -> None:
    """Show what this machine has made, by engine and kind of job."""
    found = rows()
    if as_json:
        click.echo(json.dumps(found))
    elif not found:
        click.echo("no job has ended yet")
    for row in () if as_json else found:
        click.echo(
            f"{row['engine']:<16} {row['kind']:<10} {row['done']:>6} done {row['failed']:>6} failed"
            f" {row['cancelled']:>6} cancelled {row['median_secs']:>9.2f} s each"
        )


def rows() -> list[dict[str, Any]]:
    """One row for each engine and kind; seconds are those of jobs that are done."""
    ended: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry in book.read():
        ended[entry["engine"], entry["kind"]][entry["status"]].append(entry["seconds"])
    return [
        {
            "engine": engine,
            "kind": kind,
            **{status: len(by_status.get(status, ())) for status in ("done", "failed", "cancelled")},
            "median_secs": median(by_status.get("done") or [0.0]),
        }
        for (engine, kind), by_status in sorted(ended.items())
    ]
