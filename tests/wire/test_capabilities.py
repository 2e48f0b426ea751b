from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.strict_json import dumps, loads


@given(st.from_type(Capabilities))
def test_capabilities_survive_the_wire(capabilities):
    assert Capabilities.from_wire(loads(dumps(capabilities.to_wire()))) == capabilities


def test_the_wire_has_the_fields_of_the_contract_and_ours_only_where_set():
    plain = Capabilities(supported_models_per_kind={"image": ("sd-cpp:*", "synthetic")})
    assert list(plain.to_wire()) == [
        "machineName",
        "username",
        "agentVersion",
        "engine",
        "vramTotalGb",
        "vramThresholdGb",
        "autoEnabled",
        "autoStart",
        "supportedModels",
        "taskKinds",
        "supportedModelsPerKind",
    ]
    assert plain.to_wire()["supportedModelsPerKind"] == {"image": ["sd-cpp:*", "synthetic"]}
    ours = Capabilities(sources={"audio_tts": ("piper",)}, max_concurrent_jobs=2).to_wire()
    assert (ours["sources"], ours["maxConcurrentJobs"]) == ({"audio_tts": ["piper"]}, 2)


def test_a_worker_that_says_little_and_one_that_says_more_are_both_read():
    assert Capabilities.from_wire({}) == Capabilities()
    assert (
        Capabilities.from_wire({"engine": "sd-cpp", "userPresence": "idle", "onlyWhenIdle": False}).engine == "sd-cpp"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vramThresholdGb", math.nan),
        ("vramThresholdGb", math.inf),
        ("vramThresholdGb", -1),
        ("vramTotalGb", "24"),
        ("autoEnabled", 1),
        ("supportedModels", "synthetic"),
        ("supportedModels", [5]),
        ("taskKinds", {"image": 1}),
        ("supportedModelsPerKind", {"image": "sd-cpp:*"}),
        ("machineName", "x" * 1_025),
        ("maxConcurrentJobs", 0),
        ("maxConcurrentJobs", True),
    ],
)
def test_what_breaks_the_contract_is_refused(field, value):
    with pytest.raises(ValidationError) as caught:
        Capabilities.from_wire({field: value})
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("field", ["supported_models_per_kind", "sources"])
def test_a_name_that_text_cannot_carry_is_refused_as_key_and_as_value(field):
    for table in ({"\ud800": ("a",)}, {"image": ("\ud800",)}):
        with pytest.raises(ValidationError):
            Capabilities(**{field: table})


def test_a_hundred_thousand_models_are_taken_and_more_are_not():
    names = [f"m{index}" for index in range(100_000)]
    assert len(Capabilities.from_wire({"supportedModels": names}).supported_models) == 100_000
    with pytest.raises(ValidationError):
        Capabilities.from_wire({"supportedModels": [*names, "one more"]})
