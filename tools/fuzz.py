"""Feed every parser that strangers reach with what covers more and more of it (atheris, a libFuzzer for Python).

``python tools/fuzz.py [TARGET …] --secs N`` runs each target in a process of its own, for N seconds, and says in a line
what came of it. A finding is an error that the parser does not promise, a hang, or more memory than it should take; its
input is kept, and ``python tools/fuzz.py TARGET --replay FILE`` gives it to the parser again, without atheris. What was
learned stays in ``.cache/fuzz``, so that the next run goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".cache" / "fuzz"
# The checkout is no installed package; its tests find the strategies of hypothesis by this folder.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]

if TYPE_CHECKING:
    from tests.fuzz.target import Target

INSTALL = (
    "atheris is not installed: `make fuzz` brings it (Linux alone has it), or `python -m pip install 'atheris>=3'`; "
    "`--replay FILE` and tests/fuzz need none\n"
)
SECS = 60
HANG_SECS = 20
MAX_BYTES = 16_384
"""The longest input that is made: what a parser does with more of it is what its own tests ask."""

MAX_WORDS = 300
CHANGED = 0.7
"""The share of inputs that a target's own way of changing them makes, where it has one."""

CHATTER = ("INFO:", "WARNING: Failed to find function", "Dictionary:", "#", "0x", "MS:", "artifact_prefix")
"""How lines of libFuzzer's begin that say nothing of a finding."""

GRACE_SECS = 120
"""How much longer than asked a process may take, for reading the corpus and for ending."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a target's run.

    Attributes:
        runs: how many inputs the parser was given.
        features: how many edges and counts of them were covered.
        finding: the input with which it went wrong; None where none did.
        said: the last lines of the process, where it ended otherwise than it should.
    """

    runs: int
    features: int
    finding: Path | None
    said: str


def targets() -> Mapping[str, Target]:
    """Every target by name; imports all that they read with."""
    from tests.fuzz.targets import TARGETS

    return TARGETS


def fuzz(target: Target, secs: int) -> Outcome:
    """Run a target in a process of its own."""
    corpus, findings = KEPT / target.name, KEPT / "findings" / target.name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in (*target.seeds, *target.hostile):
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    words = KEPT / f"{target.name}.dict"
    words.write_text("".join(f"{word}\n" for word in words_of(target.seeds)), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        switches = (
            *(f"-max_total_time={secs}", f"-timeout={HANG_SECS}", f"-rss_limit_mb={target.rss_mb}"),
            *(f"-max_len={MAX_BYTES}", f"-dict={words}", f"-artifact_prefix={findings}/", str(corpus)),
        )
        command = [sys.executable, __file__, target.name, "--child", scratch, ",".join(target.through), *switches]
        try:
            ended = subprocess.run(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=secs + GRACE_SECS,
                check=False,
            )
            printed, status = ended.stdout, ended.returncode
        except subprocess.TimeoutExpired as late:
            printed, status = late.stdout or b"", -signal.SIGKILL
    said = printed.decode(errors="replace")
    (KEPT / f"{target.name}.log").write_text(said, encoding="utf-8")
    return read_outcome(said, status)


def read_outcome(said: str, status: int) -> Outcome:
    """What libFuzzer printed, and with what it ended, as an outcome."""
    counts = re.findall(r"^#(\d+)\s.*?\bft: (\d+)", said, re.MULTILINE)
    runs, features = counts[-1] if counts else ("0", "0")
    if (total := re.search(r"^Done (\d+) runs", said, re.MULTILINE)) is not None:
        runs = total[1]
    kept = re.search(r"Test unit written to (\S+)", said)
    is_well = status == 0 and total is not None
    lines = [line for line in said.splitlines() if line and not line.startswith(CHATTER)]
    last = "\n".join((*lines[-25:], f"it ended with {status}"))
    return Outcome(int(runs), int(features), Path(kept[1]) if kept else None, "" if is_well else last)


def words_of(seeds: Iterable[bytes]) -> Iterable[str]:
    """The words of the samples, as libFuzzer's dictionaries write them: it puts one where it likes."""
    found = dict.fromkeys(word for seed in seeds for word in re.findall(rb"[A-Za-z_$.][\w$.-]{2,40}", seed))
    return (f'"{word.decode()}"' for word in list(found)[:MAX_WORDS])


def run_child(name: str, folder: Path, through: Iterable[str], switches: list[str]) -> None:
    """Be the process of one target; ends in libFuzzer, which does not return."""
    import atheris

    # What leads the search are the branches of our packages, and of those in Python that do the reading for us.
    with atheris.instrument_imports(include=["studio_worker", *plugins(), *through]):
        target = targets()[name]
    warnings.simplefilter("ignore")

    def feed(data: bytes) -> None:
        target.takes(data, folder)

    def change(data: bytes, max_bytes: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - libFuzzer's own seed: the same run again finds the same
        changed = target.change(data, random) if target.change is not None and random.random() < CHANGED else None
        return bytes(atheris.Mutate(data, max_bytes)) if changed is None else changed[:max_bytes]

    own = {} if target.change is None else {"custom_mutator": change}
    atheris.Setup([sys.argv[0], *switches], feed, **own)
    atheris.Fuzz()


def plugins() -> list[str]:
    """The packages of the plugins in this checkout."""
    return sorted(source.name for source in ROOT.glob("plugins/*/src/*") if source.is_dir())


def replay(target: Target, path: Path) -> int:
    """Give one input to a parser and say what came of it; 1 where it was a finding."""
    warnings.simplefilter("ignore")
    data = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        try:
            is_read = target.takes(data, Path(folder))
        except Exception:  # noqa: BLE001 - whatever a parser raises is what was asked for
            sys.stderr.write(traceback.format_exc())
            return 1
    sys.stdout.write(f"{target.name}: {'read' if is_read else 'refused'}, as it should be\n")
    return 0


def show(target: Target, outcome: Outcome) -> bool:
    """A line on a target, and where it went wrong what to do next; whether it went well."""
    is_well = not outcome.said and outcome.finding is None
    verdict = "no finding" if is_well else "FINDING" if outcome.finding else "did not run to its end"
    sys.stdout.write(f"{target.name:<20}{outcome.runs:>12,} runs{outcome.features:>8,} features  {verdict}\n")
    if outcome.said:
        sys.stdout.write(f"{outcome.said}\n")
    if outcome.finding is not None:
        path = outcome.finding
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        sys.stdout.write(f"  again: python tools/fuzz.py {target.name} --replay {shown}\n")
    sys.stdout.flush()
    return is_well


def main(arguments: list[str]) -> int:
    """Do what the arguments say. Returns 1 where something was found, 2 for what cannot be done."""
    parser = argparse.ArgumentParser(description="Fuzz the parsers that strangers reach.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="the parsers to feed; all where none is named")
    parser.add_argument("--secs", type=int, default=SECS, help=f"seconds for each ({SECS})")
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give this one input to TARGET, without atheris")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        scratch, through, *switches = asked.child
        run_child(asked.targets[0], Path(scratch), filter(None, through.split(",")), switches)
    known = targets()
    if unknown := sorted(set(asked.targets) - set(known)):
        parser.error(f"no target is called {', '.join(unknown)}; there are {', '.join(known)}")
    if asked.list:
        sys.stdout.writelines(f"{name}\n" for name in known)
        return 0
    if asked.replay is not None:
        if len(asked.targets) != 1 or not asked.replay.is_file():
            parser.error("--replay wants one TARGET, and a file that is there")
        return replay(known[asked.targets[0]], asked.replay)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write(INSTALL)
        return 2
    outcomes = [show(target, fuzz(target, asked.secs)) for target in map(known.get, asked.targets or known) if target]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
