"""Inputs that real people send and that engines trip over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from studio_worker.testing.conformance.samples import Sample
from studio_worker.wire.tasks import ImageTask, VideoTask

TEXTS: Mapping[str, str] = {
    "one letter": "a",
    "right-to-left script": "\u0645\u0646\u0627\u0631\u0629, \u05de\u05d2\u05d3\u05dc\u05d5\u05e8",
    "emoji": "\U0001f469\u200d\U0001f680\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "combining marks": "Z\u0351\u036b\u0343a\u030a\u0301\u0323l\u0334g\u0321o\u0322",
    "characters beyond sixteen bits": "\U00020bb7\U0001d518\U00012000",
    "several lines": "first\nsecond\r\nthird\tend\n",
    "control characters": "be\x07ll \x1b[31mred\x1b[0m \x7f end",
    "markup": "</s><|im_end|> {{ 7 * 7 }} %s ${HOME} '; --",
    "no text at all": "",
}
"""What it is, and the text."""

NO_SOUNDS = ("an empty file as sound", "a text as sound")
"""Those of `odd_sounds` that no decoder may take for sound."""


def odd_sounds(sound: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files that are no sound, or no whole one."""
    whole = sound.read_bytes()
    for name, data in {
        "an empty file as sound": b"",
        "a text as sound": b"this is no sound\n" * 20,
        "noise as sound": bytes(range(256)) * 64,
        "a sound that ends in its head": whole[:40],
        "a sound that ends in its middle": whole[: len(whole) // 2],
    }.items():
        path = folder / f"{name.replace(' ', '-')}"
        path.write_bytes(data)
        yield name, path


def tiny_pictures(roles: Collection[str], folder: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """Inputs of these roles as pictures of one pixel, in each of the forms that the worker hands on."""
    from PIL import Image

    for mode in ("L", "RGB", "RGBA") if roles else ():
        inputs = {}
        for role in roles:
            inputs[role] = folder / f"tiny-{mode}-{role}.png"
            Image.new("L" if role == "mask" else mode, (1, 1), 255 if role == "mask" else 0).save(inputs[role], "PNG")
        yield f"a picture of one pixel ({mode})", inputs


def without_inputs(sample: Sample) -> Sample:
    """The sample's task with no input named."""
    task = sample.task
    if isinstance(task, ImageTask):
        task = task.model_copy(update={"init_image_url": None, "mask_url": None, "ref_image_url": None})
    elif isinstance(task, VideoTask):
        task = task.model_copy(update={"init_image_url": None})
    return replace(sample, task=task, inputs={})
