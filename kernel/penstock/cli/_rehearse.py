"""`penstock rehearse`: the rehearsal upstream in the foreground, for apps that are to survive an outage.

Not here: what it answers and how it fails (`penstock_plugins.rehearsal`), its scripts (`_rehearsals`).
"""

from __future__ import annotations

import contextlib
import signal

import click
import trio
from rich.table import Table

from penstock.cli._exits import FAILED, OK
from penstock.cli._finite import FiniteRange
from penstock.cli._loop import run_loop
from penstock.cli._rehearsals import NAMES, load_script
from penstock.cli._screen import make_console, make_table
from penstock.cli._tell import tell
from penstock.cli._words import plain, tokens
from penstock_plugins.rehearsal import Latency, Script, Seen, Statistics, Upstream, serve

__all__ = ["rehearse"]

UNREAD_LINES = 1_024
"""Lines that wait for a slow terminal; more are left out, for the upstream waits for nobody."""
CHUNKS_PER_ANSWER = 20
"""`--latency` is the wait for the first byte; between chunks it is this many times shorter."""


@click.command(short_help="Be a provider with outages, for your app to survive.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--script", "named", default="calm", show_default=True, metavar="NAME|FILE", help="What goes wrong.")
@click.option("--seed", type=int, help="Another seed than the script's: other requests are struck.")
@click.option(
    "--latency",
    default=0.2,
    show_default=True,
    type=FiniteRange(0, 3600),
    metavar="SECONDS",
    help="Until the first byte of an answer, give or take a third.",
)
def rehearse(*, host: str, port: int, named: str, seed: int | None, latency: float) -> int:
    """Serve the APIs of OpenAI and Anthropic locally, with faults by a script, until Ctrl-C.

    Any key is taken, answers are made up, and nothing leaves this machine. Point an app at the addresses that are
    printed, and see what it does. What the upstream itself has counted is shown at the end.

    \b
    Scripts:
      calm        nothing goes wrong
      flaky       every sixth request fails somehow
      outage      Anthropic is down from 15 to 45 s, OpenAI from 60 to 80 s
      ratelimit   429 with every kind of hint
      cutstreams  streams that end in every way but the right one

    \b
    Examples:
      penstock rehearse --script outage
      penstock rehearse --port 0 --script my-faults.toml --seed 3
    """  # noqa: D301 - click reads the escape
    try:
        script = load_script(named, seed=seed)
    except click.BadParameter as error:
        error.param_hint = "'--script'"
        raise
    session = _Session(script, Latency(first_s=latency, chunk_s=latency / CHUNKS_PER_ANSWER, jitter=0.33))
    try:
        run_loop(session.run, host, port)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        tell(f"cannot listen on {host}:{port}: {error.strerror or error}")
        return FAILED
    click.echo()
    make_console().print(_ledger(session.upstream.statistics()))
    return OK


class _Session:
    """One upstream, and a line on stdout for every request."""

    def __init__(self, script: Script, latency: Latency) -> None:
        self.upstream = Upstream(script, latency=latency, observe=self._note)
        self._send, self._receive = trio.open_memory_channel[Seen](UNREAD_LINES)

    async def run(self, host: str, port: int) -> None:
        """Until a signal comes. Raises OSError where the port cannot be had."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with serve(self.upstream, host, port) as server:
                began = trio.current_time()
                _greet(server.url)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._tell, began)
                    await anext(signals)
                    nursery.cancel_scope.cancel()

    def _note(self, seen: Seen) -> None:
        # A line may be left out: the upstream's own books have everything.
        with contextlib.suppress(trio.WouldBlock):
            self._send.send_nowait(seen)

    async def _tell(self, began: float) -> None:
        async for seen in self._receive:
            click.echo(f"{trio.current_time() - began:8.1f} s  {_line(seen)}")


def _greet(url: str) -> None:
    click.echo(
        f"Serving the APIs of OpenAI and Anthropic; Ctrl-C ends it. Scripts: {', '.join(NAMES)}.\n\n"
        f"export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=rehearsal\n"
        f"export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=rehearsal\n"
    )


def _line(seen: Seen) -> str:
    """One request: never what was asked or answered."""
    ended = "" if seen.completed or (seen.status or 0) >= 400 else " not finished"
    status = "no answer" if seen.status is None else f"{seen.status}{ended}"
    kind = "stream" if seen.streamed else "whole"
    fault = f"  [{seen.fault}]" if seen.fault else ""
    used = f"{tokens(seen.input_tokens)} + {tokens(seen.output_tokens)} tokens"
    return plain(f"{seen.wire or '-':<9}  {seen.model or '-':<24.60}  {kind:<6}  {status:<16}  {used}{fault}")


def _ledger(statistics: Statistics) -> Table:
    figures = ("requests", "completed", "refused", "input", "output")
    table = make_table("wire", "model", "key", *figures, title="What the upstream counted", right=figures)
    for account, served in statistics.accounts:
        counts = (served.requests, served.completed, served.refused, served.input_tokens, served.output_tokens)
        table.add_row(account.wire, plain(account.model), account.key, *(tokens(count) for count in counts))
    faults = ", ".join(f"{name} {count}" for name, count in statistics.faults)
    table.caption = f"Faults: {faults or 'none'}."
    table.caption_justify = "left"
    return table
