from __future__ import annotations

import io
import json
import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from loguru import logger

from studio_worker import log

FORGERIES = [
    "ok\n2026-01-01 00:00:00.000 ERROR   studio_worker.session: forged",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m\x85next",
    "abc\u202exe\u2028new",
    "{job[0]} {} %s",
    "[bold red]x[/nope]",
    "\ud800",
    'say "x" = y',
]
Lines = Callable[..., list[str]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Set the log up and return what one record became, split as a terminal would split it."""

    def record(sentence: str = "A constant sentence", /, *, as_json: bool = False, **fields: object) -> list[str]:
        stream = io.StringIO()
        log.set_up("DEBUG", as_json=as_json, stream=stream)
        logger.bind(**fields).patch(lambda made: made.update(name="studio_worker.session")).info(sentence)
        return re.split(r"[\n\r\x85\u2028\u2029]", stream.getvalue())[:-1]

    yield record
    logger.remove()
    logger.disable("studio_worker")


def test_a_record_is_one_line_with_time_level_place_and_fields(lines):
    [line] = lines(event="session.welcome", job_id="j-9")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    studio_worker\.session: A constant sentence"
        r" event=session\.welcome job_id=j-9",
        line,
    )


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("forgery", FORGERIES, ids=range(len(FORGERIES)))
def test_text_from_outside_stays_in_its_field_on_one_line(lines, forgery, as_json):
    [line] = lines(reason=forgery, as_json=as_json)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    if as_json:
        assert json.loads(line)["message"] == "A constant sentence"
    else:
        assert line.count(" INFO ") == 1


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_braces_in_a_message_are_literal(lines, as_json):
    [line] = lines("A job {job[0]} and {} and {missing}", as_json=as_json)
    assert "A job {job[0]} and {} and {missing}" in line


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_message_is_escaped_too(lines, as_json):
    [line] = lines("one\ntwo\x1b[2J", as_json=as_json)
    assert "\x1b" not in line


def test_a_field_with_spaces_or_quotes_is_quoted(lines):
    assert lines(reason='say "no" now')[0].endswith(r'reason="say \"no\" now"')
    assert lines(reason="")[0].endswith('reason=""')


def test_a_long_field_is_cut_and_counted(lines):
    [line] = lines(reason="x" * 1_000_000)
    assert "(998,000 more)" in line
    assert len(line) < 2_200


def test_a_field_that_is_none_is_left_away(lines):
    assert "job_id" not in lines(job_id=None)[0]
    assert "job_id" not in json.loads(lines(job_id=None, as_json=True)[0])


@pytest.mark.parametrize("value", [math.nan, [math.inf, {"a": -math.inf}], "\ud800", b"\xff", object(), {1: 2}, (1, 2)])
def test_a_json_line_is_valid_json_whatever_the_field_holds(lines, value):
    [line] = lines(value=value, as_json=True)
    record = json.loads(line, parse_constant=pytest.fail)
    assert record["target"] == "studio_worker.session"
    assert record["level"] == "info"
    assert "value" in record


def test_a_json_line_keeps_numbers_and_lists(lines):
    record = json.loads(lines(step=3, total=4.5, kinds=["image"], done=True, as_json=True)[0])
    assert (record["step"], record["total"], record["kinds"], record["done"]) == (3, 4.5, ["image"], True)


@pytest.mark.parametrize("name", ["ts", "level", "target", "message"])
def test_a_field_cannot_take_the_place_of_what_every_line_has(lines, name):
    record = json.loads(lines(as_json=True, **{name: "forged"})[0])
    assert record[name] != "forged"
    assert record[f"{name}_"] == "forged"


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_secret_is_in_no_line_from_the_moment_on_in_which_it_is_known(as_json):
    stream, secrets = io.StringIO(), []
    log.set_up("DEBUG", as_json=as_json, stream=stream)
    log.hide(lambda: secrets)
    secrets.append('s3cret/"token')
    try:
        raise RuntimeError('no s3cret/"token here')
    except RuntimeError:
        logger.bind(said='a s3cret/"token', headers={"key": 's3cret/"token'}).exception('It failed: s3cret/"token')
    log.set_up("DEBUG", as_json=as_json, stream=stream)
    logger.bind(said="s3cret/token").info("Nothing is hidden for the next user of the log")
    logger.remove()
    first, second = stream.getvalue().splitlines()
    assert "s3cret" not in first
    assert first.count("***") == 4
    assert "s3cret/token" in second


def fail_with_a_secret() -> None:
    auth_token = "s3cret-token"
    raise RuntimeError(f"the studio said no to a token of {len(auth_token)} characters")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_error_is_named_and_no_local_variable_leaks(as_json):
    stream = io.StringIO()
    log.set_up("DEBUG", as_json=as_json, stream=stream)
    try:
        fail_with_a_secret()
    except RuntimeError:
        logger.exception("It failed")
    finally:
        logger.remove()
    text = stream.getvalue()
    assert "RuntimeError: the studio said no to a token of 12 characters" in text
    assert "s3cret" not in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_error_whose_message_forges_lines_stays_on_its_own(as_json):
    stream = io.StringIO()
    log.set_up(as_json=as_json, stream=stream)
    try:
        raise ValueError(FORGERIES[0])
    except ValueError:
        logger.exception("It failed")
    finally:
        logger.remove()
    assert stream.getvalue().count("\n") == 1


def test_levels_below_the_asked_one_are_quiet(capfd):
    stream = io.StringIO()
    log.set_up("warning", stream=stream)
    try:
        logger.info("quiet")
        logger.warning("loud")
    finally:
        logger.remove()
    assert "loud" in stream.getvalue()
    assert "quiet" not in stream.getvalue()


def test_a_closed_stream_is_no_trouble(capfd):
    stream = io.StringIO()
    log.set_up(stream=stream)
    stream.close()
    try:
        logger.info("nobody hears this")
    finally:
        logger.remove()
    assert capfd.readouterr() == ("", "")


def test_a_library_that_nobody_asked_is_silent():
    call = "exec('logger.error(1)', {'logger': logger, '__name__': 'studio_worker.x'})"
    code = f"from studio_worker.log import logger\n{call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == ("", "")


class TestOfAnotherLibrary:
    @pytest.fixture
    def said(self) -> Iterator[Callable[..., list[str]]]:
        """What a library's record became; `say` gets the library's logger."""

        def record(say: Callable[[logging.Logger], None], *, as_json: bool = False) -> list[str]:
            stream = io.StringIO()
            log.set_up("INFO", as_json=as_json, stream=stream)
            say(logging.getLogger("somebody.else"))
            return stream.getvalue().splitlines()

        yield record
        logger.remove()
        logger.disable("studio_worker")
        logging.root.removeHandler(log._LIBRARIES)

    @pytest.mark.parametrize("forgery", FORGERIES, ids=range(len(FORGERIES)))
    def test_an_error_with_its_traceback_is_one_line(self, said, forgery):
        try:
            raise ValueError(forgery)
        except ValueError:
            found = sys.exc_info()
        record = logging.LogRecord("somebody.else", logging.ERROR, "", 1, "Cannot read %s", (forgery,), found)
        [line] = said(lambda _: log.LibraryLines().handle(record), as_json=True)
        told = json.loads(line)
        assert (told["level"], told["target"]) == ("error", "somebody.else")
        assert told["message"] == "A library said something"
        assert told["said"].startswith("Cannot read ")
        assert told["error"].startswith("ValueError: ")

    def test_each_is_told_once_however_often_the_log_is_set_up(self, said):
        assert len(said(lambda library: library.warning("once"))) == 1
        assert len(said(lambda library: library.warning("once"))) == 1

    def test_its_chatter_is_left_out(self, said):
        assert said(lambda library: library.info("chatter")) == []

    @pytest.mark.parametrize("arguments", [("x",), ({"other": 1},)], ids=["of another type", "without its name"])
    def test_a_record_that_does_not_fit_its_arguments_is_shown_as_it_is(self, said, arguments):
        record = logging.makeLogRecord({"levelno": logging.CRITICAL, "msg": "%d of %s %(name)s", "args": arguments})
        [line] = said(lambda _: log.LibraryLines().handle(record))
        assert " ERROR " in line
        assert "'%d of %s %(name)s', which its arguments do not fit" in line


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_secret_is_in_no_text_and_numbers_stay_numbers(as_json):
    stream = io.StringIO()
    log.set_up("DEBUG", as_json=as_json, stream=stream)
    log.hide(lambda: ["12345678"])
    try:
        logger.bind(size=12345678, inner={"key": ["a 12345678 b", 12345678]}).patch(
            lambda made: made.update(name="studio_worker.session")
        ).info("A constant sentence")
    finally:
        log.hide(tuple)
        logger.remove()
        logger.disable("studio_worker")
    line = stream.getvalue()
    assert "a *** b" in line
    if as_json:
        assert json.loads(line)["size"] == 12345678
