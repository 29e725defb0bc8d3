"""`penstock demo`: calls that survive an outage, on this machine alone.

`scenario` is the data, `run` plays it, `tally` counts, `view` and `lines` show it live, `verdict` and `report` end it.
Not here: any claim that is not worked out from what happened.
"""

from __future__ import annotations

import logging
import socket
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.text import Text

from penstock.cli._demo.lines import LineView
from penstock.cli._demo.report import report
from penstock.cli._demo.run import Books, Watch, play
from penstock.cli._demo.scenario import SERVICE, Scenario, make_scenario
from penstock.cli._demo.verdict import judge
from penstock.cli._demo.view import PER_SECOND, LiveView
from penstock.cli._exits import FAILED, OK
from penstock.cli._finite import FiniteRange
from penstock.cli._loop import run_loop
from penstock.cli._screen import make_console
from penstock.cli._tell import tell

__all__ = ["demo"]

KNOCKING = 3.0
"""Seconds."""

NOWHERE = "http://127.0.0.1:9"
LINES_LOOK = 0.05
"""Seconds between two looks at what changed."""


@click.command(short_help="Watch calls survive an outage, without keys or network.")
@click.option("--calls", default=300, show_default=True, type=click.IntRange(1, 20_000), help="How many.")
@click.option("--seed", default=7, show_default=True, help="Other questions, other requests that are struck.")
@click.option("--concurrency", default=16, show_default=True, type=click.IntRange(1, 500), help="Calls at once.")
@click.option("--speed", default=1.0, show_default=True, type=FiniteRange(0.1, 20), help="2: in half the time.")
@click.option("--otlp", metavar="URL", help="Send the traces to this collector: http://localhost:4318.")
def demo(*, calls: int, seed: int, concurrency: int, speed: float, otlp: str | None) -> int:
    """Send calls through a cascade of three targets while their providers fail, on a schedule, in many ways.

    The providers are rehearsal upstreams on loopback: no key, no network, no cost. At the end every call is accounted
    for, and what penstock booked is held against what the upstream counted for itself.

    \b
    Examples:
      penstock demo
      penstock demo --calls 2000 --concurrency 64
      penstock demo --seed 8 --speed 2 | cat
      penstock demo --otlp http://localhost:4318

    \b
    Exit codes:
      0  every call accounted for, every answer whole, everything served is booked
      1  not so
    """  # noqa: D301 - click reads the escape
    scenario = make_scenario(calls=calls, seed=seed, concurrency=concurrency, speed=speed, otlp=otlp)
    if otlp is not None:
        # What is wrong with the address is told before it begins.
        scenario.config({"anthropic": NOWHERE, "openai": NOWHERE})
        if not answers(otlp):
            tell(f"nothing listens at {otlp}: start a collector there first, such as Jaeger")
            return FAILED
    # The exporter's own words would stand in the midst of what is drawn.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    console = make_console()
    books = _watched(console, scenario)
    verdict = judge(books)
    report(console, scenario, books, verdict)
    if otlp is not None:
        console.print(Text(f"The traces went to {otlp}, under the service {SERVICE}.", "dim"))
    return FAILED if verdict.complaints else OK


def answers(url: str) -> bool:
    """True where anything listens at an address."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=KNOCKING):
            return True
    except OSError:
        return False


def _watched(console: Console, scenario: Scenario) -> Books:
    if console.is_terminal and not console.is_dumb_terminal:
        with LiveView(console, scenario) as view:
            return run_loop(_play, scenario, view.show, 1 / PER_SECOND)
    lines = LineView(scenario, every=1 / scenario.speed)
    return run_loop(_play, scenario, lines.show, LINES_LOOK)


async def _play(scenario: Scenario, watch: Watch, every: float) -> Books:
    return await play(scenario, watch, every=every)
