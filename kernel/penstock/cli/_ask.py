"""`penstock ask`: one call, its answer on stdout and everything else on stderr.

Not here: reading the prompt (`_prompt`), the shapes of --json (`_answer_json`).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import attrs
import click
import trio

from penstock._config import Config
from penstock._front import Kernel
from penstock._kernel import open_kernel
from penstock.cli._account import account_argument
from penstock.cli._answer_json import (
    chunk_line,
    error_line,
    extracted_line,
    finished_line,
    growing_line,
    response_line,
)
from penstock.cli._exits import OK, exit_code
from penstock.cli._finite import FiniteRange
from penstock.cli._loop import run_loop
from penstock.cli._prompt import read_prompt
from penstock.cli._schema import read_kind, value_json, value_line
from penstock.cli._screen import AnswerWriter
from penstock.cli._tell import tell
from penstock.cli._words import dollars, json_in, seconds, tokens
from penstock.errors import PenstockError
from penstock.types import ChatResponse, Finished, TextDelta

__all__ = ["ask"]

ENDED_EARLY = {
    "length": "the answer is cut: it reached max_tokens",
    "content_filter": "the provider's content filter ended the answer",
    "refusal": "the model refused to answer",
}


@attrs.frozen(kw_only=True)
class _Wanted:
    """What is asked, and how it is to be shown."""

    prompt: str
    options: dict[str, Any]
    streamed: bool
    as_json: bool
    kind: Any
    """What the answer is to become; None: text."""
    verbose: bool


@click.command(short_help="Ask once; the answer goes to stdout.")
@click.argument("prompt", required=False)
@click.option("-r", "--route", help="A cascade of the configuration.")
@click.option("-m", "--model", help="A target's name, or provider/model, instead of a route.")
@click.option("-s", "--system", help="The system prompt.")
@click.option("-a", "--account", callback=account_argument, help="The account that pays, such as team/search.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer.")
@click.option("-t", "--temperature", type=FiniteRange(min=0), help="0 for the likeliest answer.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="The whole call is over by then.",
)
@click.option("--stream", "streamed", is_flag=True, help="Write the answer as it comes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --stream one a line for every step.")
@click.option(
    "--schema",
    "kind",
    metavar="FILE|MODULE:TYPE",
    callback=read_kind,
    help="A JSON Schema, or a type: the answer is checked, and printed as JSON; with --stream while it grows.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr who answered, the tries, the cost.")
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration; else PENSTOCK_CONFIG, else the keys in the environment.",
)
def ask(
    prompt: str | None,
    *,
    streamed: bool,
    as_json: bool,
    kind: Any,
    verbose: bool,
    config_file: str | None,
    **options: Any,
) -> int:
    """Ask once; the answer goes to stdout, everything else to stderr.

    PROMPT may be left out or be "-" to read stdin; with both, what is piped in follows after a blank line.

    \b
    Examples:
      penstock ask "Name the moons of Mars."
      git diff | penstock ask "Write a commit message." --stream
      penstock ask --schema invoice.json "$(cat mail.txt)"
      penstock ask --schema invoice.json --json "$(cat mail.txt)" | jq .value
      penstock ask --json -m openai/gpt-4o-mini - < question.txt | jq -r .text

    \b
    Exit codes:
      0    answered
      1    the call failed: providers, network, or refused here after an attempt
      2    wrong usage or configuration
      3    refused here, nothing was sent: budget, open circuit, overload
      124  its time was up
      130  interrupted
    """  # noqa: D301 - click reads the escape
    wanted = _Wanted(
        prompt=read_prompt(prompt),
        options=options,
        streamed=streamed,
        as_json=as_json,
        kind=kind,
        verbose=verbose,
    )
    try:
        config = Config.load(config_file) if config_file is not None else Config.from_environment()
        run_loop(_ask, wanted, config)
    except PenstockError as error:
        if not as_json:
            raise
        click.echo(json_in(sys.stderr.encoding, error_line(error, exit_code(error))), err=True, nl=False)
        return exit_code(error)
    return OK


async def _ask(wanted: _Wanted, config: Config) -> None:
    started = time.monotonic()
    async with open_kernel(config) as kernel:
        if wanted.kind is not None:
            response = await (_growing if wanted.streamed else _value)(wanted, kernel)
        else:
            response = await (_stream if wanted.streamed else _complete)(wanted, kernel)
    if response.finish_reason in ENDED_EARLY and not wanted.as_json:
        tell(ENDED_EARLY[response.finish_reason])
    if wanted.verbose:
        tell(_summary(response, time.monotonic() - started))


async def _complete(wanted: _Wanted, kernel: Kernel) -> ChatResponse:
    response = await kernel.complete(wanted.prompt, **wanted.options)
    out = AnswerWriter()
    if wanted.as_json:
        await out.write_json(response_line(response))
    else:
        await out.write(_ended(response.text))
    return response


async def _value(wanted: _Wanted, kernel: Kernel) -> ChatResponse:
    extracted = await kernel.extract(wanted.kind, wanted.prompt, **wanted.options)
    value, response = extracted.value, extracted.response
    await AnswerWriter().write_json(extracted_line(value, response) if wanted.as_json else value_line(value))
    return response


async def _growing(wanted: _Wanted, kernel: Kernel) -> ChatResponse:
    """A line each time that there is more of it; the last one is the value that was checked."""
    out, last = AnswerWriter(), ""
    written = growing_line if wanted.as_json else value_line
    async with kernel.stream_extract(wanted.kind, wanted.prompt, **wanted.options) as stream:
        async for part in stream:
            line = written(part)
            if line != last:
                await out.write_json(line)
            last = line
        value, response = stream.value, stream.response
    await out.write_json(finished_line(response, value=value_json(value)) if wanted.as_json else value_line(value))
    return response


async def _stream(wanted: _Wanted, kernel: Kernel) -> ChatResponse:
    out = AnswerWriter()
    last = "\n"
    async with kernel.stream(wanted.prompt, **wanted.options) as stream:
        try:
            async for chunk in stream:
                if wanted.as_json and not isinstance(chunk, Finished):
                    await out.write_json(chunk_line(chunk))
                elif isinstance(chunk, TextDelta) and not wanted.as_json:
                    await out.write(chunk.text)
                    last = chunk.text[-1:] or last
        finally:
            if last != "\n":
                # However it ends, what is said next begins on a line of its own.
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await out.write("\n")
        response = stream.response
    if wanted.as_json:
        await out.write_json(finished_line(response))
    return response


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _summary(response: ChatResponse, duration: float) -> str:
    tried = ", ".join(f"{attempt.target}: {attempt.outcome}" for attempt in response.attempts) or "no attempt"
    usage = response.usage
    return (
        f"answered by {response.target} ({tried}); cache {response.cache};"
        f" {tokens(usage.input_tokens)} + {tokens(usage.output_tokens)} tokens;"
        f" {dollars(response.cost)}; {seconds(duration)}"
    )
