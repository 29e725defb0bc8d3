"""What attempts may come to where the answer is to become a value: more room, more to read, asked in other ways.

A bound, not a forecast: most answers are right at once. Not here: what is asked at first (`_foreseen`), what follows an
invalid answer (`policy.repairing`), and the sums of a whole call (`policy.worst_case`).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock._asked import Call
from penstock._budgeting import most_read
from penstock._engine import Engine
from penstock._extraction import Extraction
from penstock._live_target import LiveTarget
from penstock._outputs import Wanted
from penstock.policy.bound import BYTES_PER_TOKEN
from penstock.policy.holds import Amount, Line
from penstock.policy.repairing import longest_reasked, more_room, room_at, roomier
from penstock.policy.routing import Learned
from penstock.types import MOST_TOKENS, ChatRequest

__all__ = ["FirstAsked", "Mending", "asking", "mendings"]

WIDEST = ("\U0001f600", "\x01")
"""Characters of the most bytes: as they are, and as JSON writes them. A model may say nothing else."""


@attrs.frozen(kw_only=True)
class FirstAsked:
    """A stage as it is asked before anything has to be mended."""

    fitted: ChatRequest
    """What the target is asked, but for how it is to say a value."""
    asked: ChatRequest
    reads: int | None
    """Input tokens at most; None: nothing bounds them. So for the output."""
    writes: int | None


@attrs.frozen(kw_only=True)
class Mending:
    """What one stage may come to, whatever answers are like."""

    refusals: int
    """Attempts that it may refuse for the way in which it is asked for a value."""
    reads: int | None
    """Of one attempt at most, after all repairs."""
    writes: int | None
    amounts: tuple[Amount | None, ...]
    """Of one attempt before any repair, after the first, after the second; and after all that follow the last."""


def asking(call: Call, wanted: Wanted) -> Extraction:
    """What a call asks its targets with, as long as it has no answers."""
    return Extraction(call, wanted, lambda _: False)


def mendings(engine: Engine, first: Extraction, tried: Sequence[tuple[FirstAsked, LiveTarget]]) -> list[Mending]:
    """For each stage that may be tried; of several that are alike in all that matters here, one is enough."""
    rooms = _rooms(tried, first.wanted.max_repairs)
    learned, limited = engine.router.snapshot.learned, bool(first.call.chain)
    return [_mending(first, each, target, learned.get(target.name), rooms, limited=limited) for each, target in tried]


def _mending(
    first: Extraction,
    each: FirstAsked,
    target: LiveTarget,
    learned: Learned | None,
    rooms: Sequence[int],
    *,
    limited: bool,
) -> Mending:
    ways = list(first.each_way(target, each.fitted))
    by_way = [most_read(way, target, learned) for way in ways]
    reads, writes = [_most([each.reads, *by_way])], [each.writes]
    if rooms and reads[0] is not None:
        # What is asked to mend an answer is said in messages, which are the same in every way: so of the widest alone.
        _, widest = max(zip(by_way, ways, strict=True), key=lambda known: known[0] or 0)
        longest = [longest_reasked(widest, first.wanted.ready.schema, character) for character in WIDEST]
        # By bytes: no tokenizer can count a text that nobody knows yet.
        reads.append(_most([*reads, *(most_read(asked, target, learned, by_bytes=True) for asked in longest)]))
    for room in rooms:
        given = room_at(room, target.capabilities.max_output)
        roomy = target.output_bound(roomier(each.asked, given))
        writes.append(_most([writes[-1], (roomy or given) if limited else roomy]))
    return Mending(
        refusals=len(ways) - 1,
        reads=reads[-1],
        writes=writes[-1],
        amounts=tuple(_amount(target, reads[0 if at == 0 else -1], most) for at, most in enumerate(writes)),
    )


def _rooms(tried: Sequence[tuple[FirstAsked, LiveTarget]], repairs: int) -> list[int]:
    """The highest `max_tokens` after each repair, at whatever stage; the last of them after all that follow.

    Each of them may be a cut answer, and what was too little for one target is asked of the next one as well, as far as
    its model can write that much.
    """
    limits = [(_limit(each), target.capabilities.max_output) for each, target in tried]
    rooms: list[int] = []
    while limits and len(rooms) < repairs:
        before = rooms[-1] if rooms else 0
        room = max(before, *(more_room(max(limit, before), most) for limit, most in limits))
        if rooms and room == before:
            break
        rooms.append(room)
    return rooms


def _limit(each: FirstAsked) -> int:
    """What an answer may be said to have been cut at: where nothing was asked for, half of its bytes."""
    if each.fitted.max_tokens is not None:
        return each.fitted.max_tokens
    return MOST_TOKENS if each.writes is None else each.writes * BYTES_PER_TOKEN // 2


def _most(figures: Sequence[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return max(known) if len(known) == len(figures) else None


def _amount(target: LiveTarget, reads: int | None, writes: int | None) -> Amount | None:
    if reads is None or writes is None:
        return None
    return Line.at_price(reads, target.price, writes).amount_at(writes)
