from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studio_worker_sdcpp.prompt import Lora, take_loras

from studio_worker import BadInput

KNOWN = {name: Path("/models") / "twist.gguf" for name in ("twist", "twist.gguf")} | {
    name: Path("/models") / "soft.safetensors" for name in ("soft", "soft.safetensors")
}
TWIST, SOFT = KNOWN["twist"], KNOWN["soft"]


@pytest.mark.parametrize(
    ("prompt", "rest", "loras"),
    [
        ("a cup", "a cup", ()),
        ("a <lora:twist:0.8>cup", "a cup", (Lora(TWIST, 0.8),)),
        ("<lora:twist.gguf:1>a cup", "a cup", (Lora(TWIST, 1.0),)),
        ("a cup<lora:twist>", "a cup", (Lora(TWIST, 1.0),)),
        ("<LORA:soft:-.5>a cup", "a cup", (Lora(SOFT, -0.5),)),
        ("<lora:twist:1><lora:soft:2>a", "a", (Lora(TWIST, 1.0), Lora(SOFT, 2.0))),
        ("<lora:twist:1>a<lora:twist.gguf:0.5>", "a", (Lora(TWIST, 1.5),)),
        ("<lora:|high_noise|twist:1>a<lora:twist:1>", "a", (Lora(TWIST, 1.0, True), Lora(TWIST, 1.0))),
        ("a < b > c <b:1>", "a < b > c <b:1>", ()),
    ],
)
def test_loras_are_taken_out_of_the_prompt(prompt: str, rest: str, loras: Any) -> None:
    assert take_loras(prompt, KNOWN) == (rest, loras)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "../twist",
        "./twist",
        "models/twist",
        "twist.safetensors",
        "C:twist",
        "other",
        "",
        "|high_noise|other",
        "%2e%2e/twist",
        "twist\0",
    ],
)
def test_a_name_that_is_no_file_of_the_claim_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(BadInput, match=r"task\.prompt: the LoRA .* soft, soft\.safetensors, twist, twist\.gguf"):
        take_loras(f"a cup <lora:{name}:1>", KNOWN)


def test_a_claim_without_loras_says_so() -> None:
    with pytest.raises(BadInput, match="with the role lora: none"):
        take_loras("a cup <lora:twist:1>", {})


@pytest.mark.parametrize("weight", ["", "x", "nan", "inf", "-inf", "11", "-10.1", "1e400", "1;2"])
def test_a_weight_that_is_no_small_number_is_refused(weight: str) -> None:
    with pytest.raises(BadInput, match=r"task\.prompt: the weight of '<lora:twist:.*' must be a number from -10 to 10"):
        take_loras(f"<lora:twist:{weight}>", KNOWN)


@pytest.mark.parametrize("prompt", ["a <lora:twist:1", "a <lora:<lora:twist:1>", "<lora:tw<ist:1>"])
def test_a_tag_that_does_not_end_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match="has no > after it"):
        take_loras(prompt, KNOWN)


def test_a_long_name_is_shown_cut() -> None:
    with pytest.raises(BadInput) as error:
        take_loras(f"<lora:{'x' * 5_000}:1>", KNOWN)
    assert len(str(error.value)) < 300


PIECES = st.sampled_from(
    [*("<lora:", "twist", "soft", "|high_noise|", ":", ">", "<"), *("1", "nan", "1e400", "-", "../x")]
)


@given(st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join))
def test_any_prompt_is_read_or_refused_and_reaches_only_the_claims_files(prompt: str) -> None:
    try:
        rest, loras = take_loras(prompt, KNOWN)
    except BadInput as error:
        refusal = str(error)
    else:
        assert "<lora:" not in rest.lower()
        assert {lora.path for lora in loras} <= {TWIST, SOFT}
        return
    assert refusal.startswith("task.prompt: ")
