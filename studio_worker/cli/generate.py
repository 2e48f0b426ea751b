"""`studio-worker generate`: one local job, no studio."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.generate_fields import EVERYDAY, KINDS, number_range, split_pair
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.parameters import whole_number
from studio_worker.errors import JobError

if TYPE_CHECKING:
    from studio_worker.cli.generate_order import Asked, Order
    from studio_worker.cli.generate_target import Target
    from studio_worker.config import Config

INPUT_OPTIONS = {"init_image": "image", "mask": "mask", "ref_image": "ref_image", "audio": "audio"}
"""Everyday option to the role of the input that it gives."""

_FILE = click.Path(path_type=Path)
_DASHED_FILE = click.Path(path_type=Path, allow_dash=True)


def _number(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    return whole_number(*number_range(parameter.name or ""))(context, parameter, text)


@click.command(
    "generate",
    short_help="Run one job on this machine, without a studio.",
    epilog="Example: studio-worker generate image --model synthetic-image --prompt 'a lighthouse' -o lighthouse.png",
)
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND", required=False)
@click.option("--prompt", "--text", "prompt", metavar="TEXT", help="What to make, to answer or to speak.")
@click.option("--negative-prompt", metavar="TEXT", help="What the picture or film is not to show.")
@click.option("--system", metavar="TEXT", help="llm: what the model is told before the prompt.")
@click.option("--seed", metavar="N", callback=_number, help="The same seed makes the same result, where an engine can.")
@click.option("--steps", metavar="N", callback=_number, help="image: steps.")
@click.option("--width", metavar="N", callback=_number, help="Pixels across.")
@click.option("--height", metavar="N", callback=_number, help="Pixels down.")
@click.option("--max-tokens", metavar="N", callback=_number, help="llm: the longest answer.")
@click.option("--schema", type=_FILE, metavar="FILE", help="llm: a JSON schema that the answer must keep.")
@click.option("--voice", metavar="NAME", help="tts: the voice.")
@click.option("--language", metavar="TAG", help="stt, tts: the language, such as en.")
@click.option("--init-image", metavar="PATH", help="The picture to begin with.")
@click.option("--mask", metavar="PATH", help="image: white is what to repaint.")
@click.option("--ref-image", metavar="PATH", help="image: the picture to edit as the prompt says.")
@click.option("--audio", metavar="PATH", help="stt: the sound to write down.")
@click.option("--input", "inputs", multiple=True, metavar="ROLE=PATH", help="An input file; may be repeated.")
@click.option("--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Any field of the task by its wire name.")
@click.option("--model", metavar="NAME", help="The model id; enough by itself where an engine lists it.")
@click.option("--source-id", metavar="ID", help="The engine's source id: llama-cpp, sd-cpp, onnx …")
@click.option("--file", "files", multiple=True, metavar="ROLE=PATH", help="A model file of this machine.")
@click.option("--source", type=_FILE, metavar="FILE", help="A model source as JSON, as jobs carry it.")
@click.option("--default", "defaults", multiple=True, metavar="FIELD=VALUE", help="A default of the model source.")
@click.option("--job", type=_DASHED_FILE, metavar="FILE", help="A line of a jobs file; - is stdin. Options change it.")
@click.option("--job-id", metavar="ID", help="Which line of the file of --job.")
@click.option("-o", "--out", type=_DASHED_FILE, metavar="PATH", help="Where the result goes; - is stdout.")
@click.option("--force", is_flag=True, help="Replace the file of -o.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it, a failure too, as one JSON object.")
@pass_invocation
def generate(invocation: Invocation, /, out: Path | None, force: bool, as_json: bool, **options: Any) -> None:
    """Run one job on this machine, through the worker's own machinery, without a studio.

    KIND is image, llm, stt, tts or video. What runs it is named as strictly as in a studio's job: by --source-id with
    the model's files, by --source, or by a --model that an engine lists. Texts are printed, an answer as it comes;
    pictures, sounds and films become files, and nothing is overwritten without --force. Progress goes to stderr.
    Ctrl-C cancels the job and exits 130.
    """
    from studio_worker.cli.generate_answer import failures_told
    from studio_worker.cli.generate_order import read_order
    from studio_worker.cli.generate_target import Target

    order = read_order(_asked(out=out, **options))
    target = Target(order.kind, out, may_replace=force)
    target.check(as_json=as_json)
    with failures_told(order, as_json=as_json):
        carry_out(invocation.settings(log_level="error").current, order, target, as_json=as_json)


def _asked(*, schema: Path | None, inputs: tuple[str, ...], **options: Any) -> Asked:
    from studio_worker.cli.generate_order import Asked, read_json

    everyday = {name: options.pop(name) for name in EVERYDAY if name != "schema"}
    everyday["schema"] = None if schema is None else read_json("--schema", schema)
    given = [(f"--{name.replace('_', '-')}", role, options.pop(name)) for name, role in INPUT_OPTIONS.items()]
    pairs = [("--input", *split_pair("--input", pair)) for pair in inputs]
    return Asked(everyday=everyday, inputs=[*(each for each in given if each[2] is not None), *pairs], **options)


def carry_out(settings: Config, order: Order, target: Target, *, as_json: bool) -> None:
    """Run an order with its progress on stderr, and hand out what came of it.

    Raises:
        JobError: what ended the job.
        ResultNotWritten: the disk refuses the result.
        KeyboardInterrupt: Ctrl-C, told as JSON already where that was asked for.
    """
    from studio_worker.cli.generate_answer import LiveText, hand_out, tell_failure
    from studio_worker.cli.generate_display import display
    from studio_worker.cli.generate_run import run_order

    begun = time.monotonic()
    live = LiveText(is_wanted=target.is_stdout and not as_json)
    try:
        with display() as shown:
            done = run_order(order, settings, shown, live.take if live.is_live else None)
    except KeyboardInterrupt:
        cancelled = JobError("cancelled")
        if as_json:
            tell_failure(order, cancelled)
        output.note(str(cancelled))
        raise
    hand_out(order, target, done, live, total_secs=time.monotonic() - begun, as_json=as_json)
