"""What `tools/fuzz.py` says and does around the search itself, which is libFuzzer's."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.changes import change_frames, change_header, change_json, change_png
from tests.fuzz.media_targets import PNGS
from tests.fuzz.model_targets import SAFETENSORS
from tests.fuzz.target import Target, target
from tests.fuzz.targets import TARGETS

TOOL = Path(__file__).parents[2] / "tools" / "fuzz.py"
RANDOM = st.integers(0, 2**32 - 1).map(random.Random)
JSON_SEEDS = [seed for fed in TARGETS.values() if fed.change is change_json for seed in fed.seeds]
DONE = """\
INFO: Seed: 1
#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 40Mb
#1024\tNEW    cov: 70 ft: 99 corp: 9/30b exec/s: 9 rss: 40Mb L: 4/4 MS: 1 ChangeByte-
#4096\tDONE   cov: 74 ft: 102 corp: 26/1295b lim: 2996 exec/s: 33582 rss: 170Mb
Done 4096 runs in 11 second(s)
"""
CRASH = """\
#1024\tNEW    cov: 70 ft: 99 corp: 9/30b exec/s: 9 rss: 40Mb L: 4/4 MS: 1 ChangeByte-

 === Uncaught Python exception: ===
ZeroDivisionError: division by zero
==1== ERROR: libFuzzer: fuzz target exited
Test unit written to /checkout/.cache/fuzz/findings/claim/crash-da39
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("fuzz_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, found)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def broken(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A parser that stumbles over one letter and refuses another."""

    @target(ValueError, seeds=["a"])
    def stumbler(data: bytes, folder: Path) -> None:
        if b"z" in data:
            raise ZeroDivisionError("a finding")
        if b"r" in data:
            raise ValueError("no r in here")

    monkeypatch.setattr(tool, "targets", lambda: {stumbler.name: stumbler})
    return stumbler


def test_without_atheris_a_sentence_says_how_to_get_it(tool, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert tool.main(["claim"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("atheris is not installed: `make fuzz` brings it")
    assert said.count("\n") == 1


def test_a_target_that_nobody_knows_is_refused_with_the_names(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(["claim", "clam"])
    assert ended.value.code == 2
    assert "no target is called clam; there are studio-frame, worker-frame, claim" in capsys.readouterr().err


def test_the_targets_are_listed(tool, capsys):
    assert tool.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(TARGETS)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [(b"a", 0, "stumbler: read, as it should be\n"), (b"r", 0, "stumbler: refused, as it should be\n"), (b"z", 1, "")],
)
def test_an_input_that_was_kept_is_given_to_its_parser_again(tool, broken, tmp_path, capsys, data, status, said):
    (tmp_path / "crash-1").write_bytes(data)
    assert tool.main([broken.name, "--replay", str(tmp_path / "crash-1")]) == status
    shown = capsys.readouterr()
    assert shown.out == said
    assert ("ZeroDivisionError: a finding" in shown.err) == bool(status)


@pytest.mark.parametrize("arguments", [[], ["stumbler", "stumbler"], ["stumbler"]])
def test_a_replay_wants_one_target_and_a_file(tool, broken, tmp_path, capsys, arguments):
    path = tmp_path / "there"
    if len(arguments) != 1:
        path.touch()
    with pytest.raises(SystemExit):
        tool.main([*arguments, "--replay", str(path)])
    assert "--replay wants one TARGET, and a file that is there" in capsys.readouterr().err


def test_a_run_to_its_end_is_no_finding(tool):
    assert tool.read_outcome(DONE, 0) == tool.Outcome(4_096, 102, None, "")


def test_a_run_that_ends_at_an_error_is_a_finding_with_its_input(tool):
    found = tool.read_outcome(CRASH, 77)
    assert (found.runs, found.features) == (1_024, 99)
    assert found.finding == Path("/checkout/.cache/fuzz/findings/claim/crash-da39")
    assert "ZeroDivisionError: division by zero" in found.said
    assert "MS:" not in found.said


@pytest.mark.parametrize(("said", "status"), [("", -9), ("ImportError: no\n", 1), (DONE, 1)])
def test_a_run_that_ends_otherwise_did_not_go_well(tool, broken, capsys, said, status):
    found = tool.read_outcome(said, status)
    assert not tool.show(broken, found)
    assert "did not run to its end" in capsys.readouterr().out


def test_a_finding_is_shown_with_how_to_see_it_again(tool, broken, capsys):
    path = tool.KEPT / "findings" / "stumbler" / "crash-1"
    assert not tool.show(broken, tool.Outcome(5, 6, path, "boom"))
    assert "python tools/fuzz.py stumbler --replay .cache/fuzz/findings/stumbler/crash-1\n" in capsys.readouterr().out


def test_the_words_of_the_samples_are_a_dictionary(tool):
    assert list(tool.words_of([b'{"jobId": "j-1"}', b"\xffjobId IHDR\x00"])) == ['"jobId"', '"j-1"', '"IHDR"']


@given(seed=st.sampled_from(JSON_SEEDS), by=RANDOM)
def test_json_is_changed_into_json(seed, by):
    changed = change_json(seed, by)
    assert changed is None or json.loads(changed) is not Ellipsis


def test_what_is_no_json_is_left_to_others():
    assert change_json(b"{", random.Random(1)) is None
    assert change_json(b"[" * 100_000, random.Random(1)) is None


@given(by=RANDOM)
def test_a_changed_header_has_the_length_that_it_says(by):
    changed = change_header(SAFETENSORS, by)
    if changed is not None:
        length = int.from_bytes(changed[:8], "little")
        assert isinstance(json.loads(changed[8 : 8 + length]), (dict, list, str, int, float, type(None)))
        assert changed[8 + length :] == SAFETENSORS[8 + int.from_bytes(SAFETENSORS[:8], "little") :]


@given(by=RANDOM)
def test_a_changed_frame_has_the_length_that_it_says(by):
    changed = change_frames(TARGETS["child-pipe"].seeds[0], by)
    count = 0
    while changed:
        length = int.from_bytes(changed[:4])
        json.loads(changed[4 : 4 + length])
        changed, count = changed[4 + length :], count + 1
    assert count == 6


@given(by=RANDOM)
def test_a_changed_picture_has_the_sum_of_its_header(by):
    changed = change_png(PNGS[0], by)
    assert zlib.crc32(changed[12:29]) == int.from_bytes(changed[29:33])
    assert changed[33:] == PNGS[0][33:]


@pytest.mark.parametrize("said", ["two\nlines", "\x1b[2J", "x" * 6_000])
def test_a_refusal_that_no_line_can_show_is_a_finding(tmp_path, said):
    @target(ValueError, seeds=[])
    def refuser(data: bytes, folder: Path) -> None:
        raise ValueError(said)

    with pytest.raises(AssertionError, match="a refusal"):
        refuser.takes(b"", tmp_path)
