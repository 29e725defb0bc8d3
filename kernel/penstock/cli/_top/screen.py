"""What a frame looks like: fitted to the columns and rows that there are. Pure.

Sick targets come first, then those with the most traffic; what does not fit is counted, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock._live.frame import Frame, TargetFrame
from penstock.cli._words import dollars, escaped, seconds, short_tokens, span

__all__ = ["drawn"]

WIDE = 100
"""Columns from which on there is room for what made a target sick."""
NARROW = 66
"""Columns below which there is room for names and states alone."""
FIGURES = ("att/s", "attempts", "failed", "median", "first p95")
STATES = {
    "closed": ("ok", "green"),
    "open": ("OPEN", "bold red"),
    "half_open": ("probing", "yellow"),
    "cooling": ("cooling", "yellow"),
    "isolated": ("isolated", "red"),
    "gone": ("gone", "dim"),
}
MOST_ACCOUNTS = 5
BAR = 16
MUCH_MAIL = 100
"""Messages. An actor handles some fifty in a millisecond."""


def drawn(frame: Frame, *, width: int, height: int | None, unicode: bool) -> Group:
    """The whole screen. `height` None: all of it, however long."""
    head = [*_head(frame, width)]
    tail = [*_tail(frame, width, unicode=unicode)]
    # One row for the table's head, one for what does not fit, and a last one that a terminal would scroll for.
    room = None if height is None else max(3, height - len(head) - len(tail) - 3)
    return Group(*head, *_targets(frame, width, room), *tail)


def _head(frame: Frame, width: int) -> Iterator[Text]:
    line = Text.assemble(("penstock top", "bold"), f"  pid {frame.pid}  kernel {escaped(frame.kernel)}")
    line.append(f"  up {span(frame.up_s)}", "dim")
    if frame.closing:
        line.append("  shutting down", "bold red")
    yield _cut(line, width)
    busy = frame.waiting or frame.in_flight >= frame.max_in_flight
    line = Text.assemble(("in flight ", "dim"), f"{frame.in_flight} of {frame.max_in_flight}", ("   waiting ", "dim"))
    line.append(str(frame.waiting), "bold red" if busy else "")
    line.append("   calls ", "dim").append(f"{frame.calls_per_s:.1f}/s, {frame.calls:,} in {span(frame.watched_s)}")
    yield _cut(line, width)
    line = Text.assemble(("half within ", "dim"), _time(frame.duration_p50), ("   95 % within ", "dim"))
    line.append(_time(frame.duration_p95)).append("   tokens ", "dim").append(short_tokens(frame.tokens))
    line.append("   cost ", "dim").append(dollars(frame.cost))
    yield _cut(line, width)
    yield _cut(_outcomes(frame), width)
    for problem in frame.problems[:2]:
        yield _cut(Text(escaped(problem), "bold red"), width)
    if frame.missed:
        yield _cut(Text(f"{frame.missed:,} events were not counted: there were too many at once", "yellow"), width)
    yield Text()


def _outcomes(frame: Frame) -> Text:
    text = Text.assemble(("ended ", "dim"))
    if not frame.outcomes:
        return text.append("none yet", "dim")
    for outcome, count in sorted(frame.outcomes.items(), key=lambda each: (each[0] != "ok", -each[1])):
        style = "green" if outcome == "ok" else "" if outcome == "cancelled" else "red"
        text.append(f"{escaped(outcome)} {count:,}   ", style)
    return text


def _targets(frame: Frame, width: int, room: int | None) -> Iterator[RenderableType]:
    ordered = sorted(
        frame.targets, key=lambda each: (each.state in {"closed", "gone"}, -each.per_s, -each.attempts, each.name)
    )
    shown = ordered if room is None else ordered[: room if len(ordered) <= room else room - 1]
    yield _table(shown, width)
    if left := ordered[len(shown) :]:
        traffic = sum(each.per_s for each in left)
        yield _cut(Text(f"and {len(left)} more targets, with {traffic:.1f} attempts/s together", "dim"), width)
    yield Text()


def _table(targets: Sequence[TargetFrame], width: int) -> Table:
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if wide else 1, 0, 0), width=width)
    table.add_column("target", ratio=3, no_wrap=True, overflow="ellipsis", min_width=12)
    table.add_column("state", no_wrap=True, width=12)
    for column in FIGURES if width >= NARROW else ():
        table.add_column(column, justify="right", no_wrap=True, width=max(6, len(column)))
    if wide:
        table.add_column("what is wrong", ratio=3, no_wrap=True, overflow="ellipsis")
    for each in targets:
        table.add_row(*[*_row(each)][: len(table.columns)])
    return table


def _row(target: TargetFrame) -> Iterator[Text]:
    yield Text(escaped(target.name))
    says, style = STATES.get(target.state, (target.state, ""))
    until = "" if target.for_s is None else f" {target.for_s:.0f} s"
    yield Text(says + until, style)
    yield Text(f"{target.per_s:.1f}" if target.attempts else "")
    yield Text(f"{target.attempts:,}" if target.attempts else "")
    yield Text(f"{target.failures:,}" if target.failures else "", "red")
    yield Text(_time(target.duration_p50) if target.duration_p50 is not None else "")
    yield Text(_time(target.first_token_p95) if target.first_token_p95 is not None else "")
    yield Text(escaped(target.why or target.last_failure), "dim")


def _tail(frame: Frame, width: int, *, unicode: bool) -> Iterator[Text]:
    for each in frame.accounts[:MOST_ACCOUNTS]:
        share = min(1.0, (each.spent + each.held) / each.limit)
        filled = round(BAR * share)
        bar = ("█" * filled + "░" * (BAR - filled)) if unicode else ("#" * filled + "." * (BAR - filled))
        name = f"{escaped(each.account) or '(root)'} {each.per}"
        text = Text(f"{name:<28.28} ").append(bar, "red" if share > 0.9 else "green")
        text.append(f" {_amount(each.spent + each.held, each.unit)} of {_amount(each.limit, each.unit)}")
        yield _cut(text, width)
    if len(frame.accounts) > MOST_ACCOUNTS:
        yield Text(f"and {len(frame.accounts) - MOST_ACCOUNTS} more limits, with more room", "dim")
    line = Text()
    if frame.cache is not None:
        asked = frame.cache.hits + frame.cache.misses
        answered = f"{frame.cache.hits / asked:.0%} of {asked:,}" if asked else "nothing asked"
        line.append("cache ", "dim").append(f"{answered}, {frame.cache.entries:,} entries   ")
    line.append("mail ", "dim")
    busy = [actor for actor in frame.actors if actor.queued]
    line.append("" if busy else "nothing queued")
    for actor in busy:
        line.append(f"{actor.name} {actor.queued}  ", "yellow" if actor.queued > MUCH_MAIL else "")
    yield _cut(line, width)


def _amount(amount: float, unit: str) -> str:
    return dollars(amount) if unit == "USD" else short_tokens(int(amount))


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text
