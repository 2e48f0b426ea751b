from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from studio_worker.errors import FetchRefused
from studio_worker.masks import NO_MASKS, Masks

SECRETS = ["0123456789abcdef" * 4, 'hf_/+"\\%&=7b ä', "it's so secret"]
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a URL's path": quote,
    "in a form": quote_plus,
    "in a URL with small letters": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
    "in JSON": json.dumps,
    "in JSON as it is": lambda secret: json.dumps(secret, ensure_ascii=False),
    "in JSON in JSON": lambda secret: json.dumps(json.dumps([secret])),
    "by Python": lambda secret: repr({"key": secret}),
    "by Python in a text of both quotes": lambda secret: repr(f"'{secret}\""),
    "in hex": lambda secret: secret.encode().hex(),
    "in base64": lambda secret: b64encode(secret.encode()).decode(),
    "in base64 behind a letter": lambda secret: b64encode(f"a{secret}".encode()).decode(),
    "in base64 behind two and before one": lambda secret: b64encode(f"ab{secret}c".encode()).decode(),
    "in base64 of URLs": lambda secret: urlsafe_b64encode(secret.encode()).decode(),
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", WRITTEN)
def test_a_secret_is_hidden_when_it_is_written(form: str, secret: str) -> None:
    written = WRITTEN[form](secret)
    shown = Masks([None, "another-secret", secret]).hide(f"before {written} after")
    core = written[4:-4]
    assert "***" in shown
    assert core not in shown
    assert (shown[:7], shown[-6:]) == ("before ", " after")


def test_json_stays_json() -> None:
    said = json.dumps({"error": f"no: {SECRETS[1]}", "of": [1]})
    assert json.loads(Masks(SECRETS).hide(said)) == {"error": "no: ***", "of": [1]}


def test_an_error_keeps_its_kind_and_all_that_is_no_secret() -> None:
    error = FetchRefused("scheme", f"the URL must start with https:// (got {SECRETS[0]})")
    hidden = Masks(SECRETS).hide_in(error)
    assert hidden is error
    assert (hidden.rule, str(hidden)) == ("scheme", "the URL must start with https:// (got ***) (rule: scheme)")


@pytest.mark.parametrize("masks", [NO_MASKS, Masks([None, "", "short"])], ids=["none", "what is too short"])
def test_where_there_is_no_secret_nothing_is_hidden(masks: Masks) -> None:
    assert masks.hide("nothing short of all") == "nothing short of all"
