"""Offers that are sound but for a place or two become plans, or are refused by an error that a studio can be told."""

import random
from pathlib import PurePosixPath

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spoiled import spoiled

from studio_worker.errors import JobError
from studio_worker.jobs.plan import draw
from studio_worker.testing.claims import image_claim, llm_claim, stt_claim, tts_claim, video_claim

from .test_plan import ROUTES

CLAIMS = [
    image_claim(initImageUrl="https://h/a.png", maskUrl="https://h/m.png", denoise=0.5, seed=1, cfgScale=2.0),
    llm_claim(system="be brief", topP=0.5, stop=["\n"], jsonSchema={"type": "object", "properties": {"a": {}}}),
    stt_claim(),
    tts_claim(speed=1.0, language="en"),
    video_claim(fps=8),
]
FILE = {"role": "model", "url": "https://h/m.gguf", "filename": "m.gguf", "approxBytes": 5, "sha256": "ab" * 32}
for claim in CLAIMS:
    claim["modelSource"]["files"] = [FILE]


@settings(print_blob=True, deadline=None)
@given(claim=st.sampled_from(CLAIMS).flatmap(spoiled))
def test_an_offer_becomes_a_plan_or_is_refused(claim):
    assume(isinstance(claim.get("jobId"), str))  # without one there is no offer
    try:
        plan = draw(claim, ROUTES, device=lambda plugin: None, rng=random.Random(1))
    except JobError as error:
        refusal = error
    else:
        assert PurePosixPath(plan.job_id).parts == (plan.job_id,)
        assert 0 <= plan.seed < 2**64
        return
    assert not refusal.retryable
    assert str(refusal)
