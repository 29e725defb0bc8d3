"""`penstock top`: a running kernel, live, through the socket that it opens where its configuration says `live_view`.

`finding` finds it, `reading` reads its frames, `screen` draws them.
"""

from __future__ import annotations

import sys

import click
from rich.console import Console, Group
from rich.live import Live

from penstock._live.frame import Frame
from penstock.cli._exits import FAILED, OK
from penstock.cli._loop import run_loop
from penstock.cli._screen import make_console
from penstock.cli._tell import tell
from penstock.cli._top.finding import NoKernelError, find
from penstock.cli._top.reading import Frames, GoneError
from penstock.cli._top.screen import drawn

__all__ = ["top"]


@click.command(short_help="Watch a running kernel, live.")
@click.argument("kernel", required=False)
@click.option("--once", is_flag=True, help="Print one look and end.")
@click.option("--json", "as_json", is_flag=True, help="Print each look as a line of JSON.")
def top(*, kernel: str | None, once: bool, as_json: bool) -> int:
    """Watch the calls, targets, accounts, cache and actors of a running kernel. Ctrl-C ends it.

    The kernel must have been opened with `live_view = true` in its [telemetry] table, by the same user on the same
    machine. KERNEL is the id of its process, or the beginning of the ids of its calls; where one is running there is no
    need of it. Counts begin when the watching does.

    \b
    Examples:
      penstock top
      penstock top 4711
      penstock top --once

    \b
    Exit codes:
      0  it was watched until Ctrl-C, or once
      1  there is no such kernel, or it has ended
      130  interrupted before it was watched
    """  # noqa: D301 - click reads the escape
    try:
        return run_loop(_watch, kernel, once, as_json)
    except NoKernelError as error:
        tell(str(error))
        return FAILED


async def _watch(kernel: str | None, once: bool, as_json: bool) -> int:  # noqa: FBT001 - as click has them
    console = make_console()
    async with await find(kernel) as stream:
        frames = Frames(stream)
        try:
            if once or as_json or not console.is_terminal or console.is_dumb_terminal:
                await _print(console, frames, once=once, as_json=as_json)
            else:
                await _draw(console, frames)
        except GoneError as gone:
            tell(str(gone))
            return FAILED
        except KeyboardInterrupt:
            if once:
                raise  # before there was anything to see
    return OK


async def _print(console: Console, frames: Frames, *, once: bool, as_json: bool) -> None:
    while True:
        line, frame = await frames.next()
        if as_json:
            sys.stdout.write(f"{line.decode()}\n")
            sys.stdout.flush()
        else:
            console.print(drawn(frame, width=console.width, height=None, unicode=not console.options.ascii_only))
        if once:
            return


async def _draw(console: Console, frames: Frames) -> None:
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            _, frame = await frames.next()
            live.update(_fitted(console, frame), refresh=True)


def _fitted(console: Console, frame: Frame) -> Group:
    return drawn(frame, width=console.width, height=console.height, unicode=not console.options.ascii_only)
