from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.studio_admin import PAGE, StudioAdmin, StudioSaysNo
from studio_worker.errors import ConfigError, StudioUnreachable
from studio_worker.private_file import write_atomically


class Studio:
    """What answers at a studio's address: a list of (status, body) in turn, the last one repeated."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = [(200, b"[]")]
        self.asked: list[tuple[str, str, str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, self.headers["Authorization"], body))
                status, answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = _answer

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def studio() -> Iterator[Studio]:
    found = Studio()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def admin(studio: Studio) -> StudioAdmin:
    return StudioAdmin(studio.url, "token")


def page(*names: str) -> tuple[int, bytes]:
    return 200, json.dumps([{"jobId": name, "state": "queued"} for name in names]).encode()


def test_it_asks_as_the_operator(studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [page("a")]
    assert admin.jobs() == [{"jobId": "a", "state": "queued"}]
    assert studio.asked[0][:3] == ("GET", f"/graphics/api/jobs?limit={PAGE}", "Bearer token")


def test_long_lists_are_paged_through(studio: Studio, admin: StudioAdmin) -> None:
    first = [f"j{at}" for at in range(PAGE)]
    studio.answers = [page(*first), page("last")]
    assert [job["jobId"] for job in admin.jobs()] == [*first, "last"]
    assert studio.asked[1][1].endswith(f"&after=j{PAGE - 1}")


def test_paging_ends_when_the_wanted_jobs_are_found(studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [page(*[f"j{at}" for at in range(PAGE)]), page("never")]
    assert [job["jobId"] for job in admin.jobs(["j3"])] == ["j3"]
    assert len(studio.asked) == 1


def test_adding_sends_the_line_and_gives_the_id(studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [(201, b'{"jobId": "a"}')]
    assert admin.add({"model": "ü"}) == "a"
    assert studio.asked[0][3] == '{"model":"ü"}'.encode()


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_an_id_cannot_reach_another_route(verb: str, studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [(200, b"{}")]
    getattr(admin, verb)("../../x?y#z\r\n")
    assert studio.asked[0][1] == f"/graphics/api/jobs/..%2F..%2Fx%3Fy%23z%0D%0A/{verb}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_is_hinted_at(status: int, studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [(status, b'{"error": "no"}')]
    with pytest.raises(StudioSaysNo, match=f"answered {status}: no \\(is the admin token right"):
        admin.jobs()


def test_a_refusal_is_told_in_the_studios_words_escaped(studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [(400, b'{"error": "task: \\u001b[2J"}')]
    with pytest.raises(StudioSaysNo, match=r"answered 400: task: \\x1b\[2J") as caught:
        admin.add({})
    assert (caught.value.status, caught.value.exit_code) == (400, 1)


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b"{}"), (200, b"[5]"), (302, b"<moved>")])
def test_what_is_no_studio_is_said_to_be_none(answer: tuple[int, bytes], studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [answer]
    with pytest.raises(StudioUnreachable, match="is not a studio"):
        admin.jobs()


def test_a_redirect_is_not_followed(studio: Studio, admin: StudioAdmin) -> None:
    studio.answers = [(302, b"{}")]
    with pytest.raises(StudioSaysNo, match="answered 302"):
        admin.jobs()
    assert len(studio.asked) == 1


def test_a_studio_that_is_down_is_named_without_the_token() -> None:
    with pytest.raises(StudioUnreachable, match=r"http://127\.0\.0\.1:9/ does not answer: .*refused") as caught:
        StudioAdmin("http://127.0.0.1:9", "hunter2").jobs()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x", "https://u:hunter2@h/", "", "http://"])
def test_an_address_that_is_none_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigError, match="the studio's address") as caught:
        StudioAdmin(url, "token")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nb", "ü"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="must be printable ASCII"):
        StudioAdmin("http://127.0.0.1", token)


def test_an_admin_file_says_where_and_who(tmp_path: Path) -> None:
    write_atomically(tmp_path / "admin.json", b'{"url": "http://127.0.0.1:8787", "token": "t"}')
    assert StudioAdmin.from_file(tmp_path / "admin.json").home == "http://127.0.0.1:8787/"


def test_a_missing_admin_file_says_how_to_name_a_studio(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="start a studio by `studio-worker studio`, or name one by --studio"):
        StudioAdmin.from_file(tmp_path / "admin.json")


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"url": 5, "token": "t"}', b'{"url": "http://h"}'])
def test_a_damaged_admin_file_is_refused(raw: bytes, tmp_path: Path) -> None:
    write_atomically(tmp_path / "admin.json", raw)
    with pytest.raises(ConfigError, match="is no admin file"):
        StudioAdmin.from_file(tmp_path / "admin.json")
