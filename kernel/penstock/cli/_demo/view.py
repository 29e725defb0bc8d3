"""The demo live in a terminal: progress, the picture, targets, accounts, and what happened last.

Not here: the end (`verdict`), and terminals that cannot be drawn in (`lines`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli._demo.picture import PICTURED, bar, picture
from penstock.cli._demo.run import Moment
from penstock.cli._demo.scenario import BATCH, SEARCH, TARGETS, Scenario
from penstock.cli._demo.tally import AttemptClass, Tally
from penstock.policy.money import usd

__all__ = ["LiveView", "draw_picture"]

PER_SECOND = 8
STATES = {
    "closed": ("healthy", "green"),
    "open": ("OPEN", "bold red"),
    "half_open": ("probing", "yellow"),
    "cooling": ("cooling", "yellow"),
    "isolated": ("isolated", "red"),
}
COLUMNS: tuple[AttemptClass, ...] = ("ok", "429", "5xx", "slow", "broken")
ROWS_WITHOUT_NOTES = 22
"""What is always shown needs so many; what is left of the screen is for notes."""


class LiveView:
    """A context manager; `show` is a Watch."""

    def __init__(self, console: Console, scenario: Scenario) -> None:
        self._console = console
        self._scenario = scenario
        self._unicode = not console.options.ascii_only
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        """Draws it."""
        self._live.update(Group(*self._parts(moment)), refresh=True)

    def _parts(self, moment: Moment) -> Iterator[RenderableType]:
        yield self._headline(moment)
        yield self._wrong_now(moment.elapsed)
        yield Text(PICTURED, "bold")
        yield draw_picture(self._scenario, moment.tally, unicode=self._unicode)
        yield self._targets(moment)
        yield Text()
        yield self._accounts(moment)
        yield from self._notes(moment.tally)

    def _headline(self, moment: Moment) -> Text:
        tally = moment.tally
        done = bar(tally.ended / tally.total, 40, unicode=self._unicode)
        text = Text.assemble(("calls   ", "bold"), (done, "cyan"), f"  {tally.ended} of {tally.total}")
        text.append(f"   {moment.elapsed:4.1f} s", "dim")
        return text

    def _wrong_now(self, elapsed: float) -> Text:
        said = "; ".join(outage.says for outage in self._scenario.under_way(elapsed))
        return Text.assemble(("now     ", "bold"), (said, "red") if said else ("all is well upstream", "green"))

    def _targets(self, moment: Moment) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("target", width=7)
        table.add_column("", width=12)
        for column in COLUMNS:
            table.add_column(column, justify="right", width=7)
        for name in TARGETS:
            says, style = STATES.get(moment.states.get(name, "closed"), ("?", ""))
            counts = moment.tally.attempts[name]
            table.add_row(name, Text(says, style), *(str(counts[column] or "") for column in COLUMNS))
        return table

    def _accounts(self, moment: Moment) -> Text:
        text = Text()
        for path in (SEARCH, BATCH):
            window = moment.snapshot.accounts[path].windows[0]
            limit = window.limit_nano_usd or 1
            used = (window.spent.nano_usd + window.held.nano_usd) / limit
            style = "red" if used > 0.9 else "green"
            text.append(f"{path:<12} ")
            text.append(bar(used, 24, unicode=self._unicode), style)
            text.append(f" ${usd(window.spent.nano_usd):.4f} of ${usd(limit):.4f}\n")
        tally = moment.tally
        text.append(
            f"cache {tally.count('cached')} hits, {tally.count('shared')} shared   "
            f"refused {tally.count('refused')}   failed {tally.count('failed')}   in flight {moment.snapshot.in_flight}"
        )
        return text

    def _notes(self, tally: Tally) -> Iterator[Text]:
        room = min(6, self._console.height - ROWS_WITHOUT_NOTES)
        if room > 1:
            yield Text()
            for at, note in list(tally.notes)[-(room - 1) :]:
                yield Text(f"{at:5.1f} s  {note}", "dim", no_wrap=True, overflow="ellipsis")


def draw_picture(scenario: Scenario, tally: Tally, *, unicode: bool) -> Text:
    """The picture with its colours."""
    text = Text(no_wrap=True)
    for row in picture(scenario, tally, unicode=unicode):
        text.append(f"{row.label:<8}", "bold")
        text.append(row.cells, row.style)
        text.append(f" {row.count:>5}\n" if row.count else "\n")
    return text
