"""`penstock explain`: what a call would do, how long it takes at most and what it costs at most. Nothing is sent.

Not here: finding it out (`Kernel.explain`), the JSON object (`_explanation_json`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import attrs
import click
from rich.console import Console

from penstock._config import Config
from penstock._explanation import Explanation, StageExplanation
from penstock._kernel import open_kernel
from penstock.cli._account import account_argument
from penstock.cli._answer_json import error_line
from penstock.cli._exits import OK, exit_code
from penstock.cli._explanation_json import explanation_line
from penstock.cli._finite import FiniteRange
from penstock.cli._loop import run_loop
from penstock.cli._prompt import read_prompt
from penstock.cli._screen import make_console, make_table
from penstock.cli._words import dollars, json_in, plain, seconds, tokens
from penstock.errors import PenstockError

__all__ = ["explain"]

SOURCES = {
    "argument": "--timeout",
    "route": "the route's timeout",
    "scope": "the caller's own scope",
    "kernel": "[kernel] timeout",
}


@attrs.frozen(kw_only=True)
class _Wanted:
    prompt: str
    options: dict[str, Any]
    streamed: bool


@click.command(short_help="Tell what a call would do and cost; nothing is sent.")
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
@click.option("--stream", "streamed", is_flag=True, help="Explain a stream.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration; else PENSTOCK_CONFIG, else the keys in the environment.",
)
def explain(prompt: str | None, *, streamed: bool, as_json: bool, config_file: str | None, **options: Any) -> int:
    """Tell what `penstock ask` would do with the same: whom it would ask, how often, how long, for how much.

    Nothing is sent. PROMPT may be left out or be "-" to read stdin; with both, what is piped in follows after a blank
    line. A new process knows of no cool-downs and no open circuits: a running app asks its own kernel.

    \b
    Examples:
      penstock explain "Name the moons of Mars."
      penstock explain --stream --timeout 60 - < question.txt
      penstock explain --json "Name the moons of Mars." | jq .cost

    \b
    Exit codes:
      0    explained
      2    wrong usage or configuration
      130  interrupted
    """  # noqa: D301 - click reads the escape
    wanted = _Wanted(prompt=read_prompt(prompt), options=options, streamed=streamed)
    try:
        config = Config.load(config_file) if config_file is not None else Config.from_environment()
        explanation = run_loop(_explain, wanted, config)
    except PenstockError as error:
        if not as_json:
            raise
        click.echo(json_in(sys.stderr.encoding, error_line(error, exit_code(error))), err=True, nl=False)
        return exit_code(error)
    if as_json:
        click.echo(explanation_line(explanation), nl=False)
    else:
        _show(make_console(), explanation)
    return OK


async def _explain(wanted: _Wanted, config: Config) -> Explanation:
    async with open_kernel(config) as kernel:
        return kernel.explain(wanted.prompt, stream=wanted.streamed, **wanted.options)


def _show(console: Console, explanation: Explanation) -> None:
    figures = ("attempts", "tokens in + out", "each")
    table = make_table("target", "when", *figures, title=f"Route {plain(explanation.route)}", right=figures)
    for stage in explanation.stages:
        table.add_row(plain(stage.target), *_row(stage))
    console.print(table)
    console.print()
    for stage in explanation.stages:
        if stage.when.reason != "ready":
            console.print(plain(f"{stage.target}: {stage.when.says}"), style="yellow")
        if stage.retries is not None:
            console.print(plain(f"{stage.target}: {stage.retries.says}"), style="yellow")
    for sentence in _sentences(explanation):
        console.print(plain(sentence))


def _row(stage: StageExplanation) -> Iterator[str]:
    yield stage.when.says.partition(":")[0].partition(",")[0]
    yield str(_allowed(stage))
    if not stage.attempts:
        yield from ("-", "-")
        return
    yield f"{_most(stage.input_tokens)} + {_most(stage.output_tokens)}"
    yield "no bound" if None in (stage.input_tokens, stage.output_tokens) else dollars(stage.cost)


def _most(count: int | None) -> str:
    return "?" if count is None else tokens(count)


def _sentences(explanation: Explanation) -> Iterator[str]:
    first = next((stage for stage in explanation.stages if stage.target == explanation.first), None)
    if first is None:
        yield "No target can be tried within the deadline: the call would fail, and nothing would be sent."
    else:
        begins = f"in {seconds(explanation.starts_in)}" if explanation.starts_in else "at once"
        yield f"Begins {begins} with {first.target}."
        yield _silence(explanation, first)
    yield from _attempts(explanation)
    yield _time(explanation)
    if explanation.nano_usd is not None:
        yield f"Cost: at most {dollars(explanation.cost)} in all; the dearest attempt {dollars(explanation.dearest)}."
    else:
        yield "Cost: no bound, or a price is not known."
    yield from _guards(explanation)


def _allowed(stage: StageExplanation) -> int:
    """Of the attempts that may be made there at most, those that count."""
    return min(stage.allowed, stage.attempts)


def _attempts(explanation: Explanation) -> Iterator[str]:
    allowed = sum(map(_allowed, explanation.stages))
    tried = sum(1 for stage in explanation.stages if stage.attempts)
    more = explanation.attempts - allowed
    if not tried:
        return
    why = "a kept connection turns out to be dead" + (", or a prefix is refused" if more > tried else "")
    yield f"Attempts: at most {allowed}; up to {more} more where {why}."


def _silence(explanation: Explanation, first: StageExplanation) -> str:
    if explanation.deadline is not None and first.silent >= explanation.deadline:
        return "Where that one takes the request and says nothing, the whole call's time is gone."
    return f"Where that one takes the request and says nothing, it is left after {first.silent:g} s."


def _time(explanation: Explanation) -> str:
    if explanation.seconds is None:
        return "Time: without end, as it was asked for."
    return f"Time: at most {explanation.seconds:g} s ({SOURCES[explanation.deadline_from]})."


def _guards(explanation: Explanation) -> Iterator[str]:
    asked = sum(stage.looked_up for stage in explanation.stages)
    if explanation.cache == "off":
        yield "Cache: none."
    elif not asked:
        yield f"Cache: not asked ({explanation.cache})."
    else:
        yield f"Cache: asked before {asked} of {len(explanation.stages)} targets ({explanation.cache})."
    if not explanation.accounts:
        yield "Budget: no account on the path has a limit."
    for account in explanation.accounts:
        yield f"Budget: {account.account or '(all)'} has {', '.join(account.limits)}."
