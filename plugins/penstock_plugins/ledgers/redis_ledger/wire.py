"""What crosses the wire between a store and its book on the server: batches there, answers and rows back.

Packed by msgpack, which keeps whole numbers whole and any name as it is. `book.lua` says what stands where.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import msgspec

from penstock.errors import ConfigError, LedgerUnavailableError
from penstock.policy.account_window import window_end, window_of
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_adoption import begin_of
from penstock.policy.ledger_steps import (
    Adopt,
    Answer,
    Change,
    Changed,
    Charged,
    Held,
    HistoryRow,
    HoldRow,
    Known,
    Lack,
    Lacking,
    Landed,
    Release,
    Renew,
    Reserve,
    Settle,
    SpendRow,
    Spent,
    Stale,
    Step,
    TopUp,
    Turn,
    WindowRow,
)
from penstock.policy.money import usd_in_words
from penstock.policy.window import time_in_words
from penstock_plugins.ledgers.redis_ledger.figures import (
    MOST_ALLOWED,
    amount_from,
    money_from,
    packed_amount,
    packed_line,
    packed_money,
    packed_tokens,
    packed_use,
)

__all__ = [
    "BOOK_VERSION",
    "LookAgain",
    "Seen",
    "clock_before",
    "history_row",
    "hold_row",
    "landed",
    "life_and_policy",
    "packed_ends",
    "packed_seen",
    "packed_steps",
    "spend_row",
    "understood",
    "window_row",
]

BOOK_VERSION = "5"
"""Of the content, as `book.lua` writes it down."""
KNOWN, STALE = Known(), Stale()
unpacked = msgspec.msgpack.Decoder().decode


class LookAgain(Exception):  # noqa: N818 - no error: what is to be done
    """The server is not the one that it was when it was last looked at. Nothing was carried out."""


@attrs.frozen
class Seen:
    """How far books had come."""

    born: float
    life: str
    """Of the server that had carried out the last batch."""
    batches: int


def life_and_policy(info: bytes | str) -> tuple[str, str]:
    """A name for the life of a server, and its `maxmemory-policy`, by its INFO.

    The name is another one from each start, and for a replica from the time when it takes over.
    """
    text = info.decode(errors="replace") if isinstance(info, bytes) else info
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    life = lines.get("run_id", "")[:16] + lines.get("master_replid", "")[:16]
    return life, lines.get("maxmemory_policy", "")


def packed_seen(life: str, seen: Seen | None, *, fresh: bool) -> bytes:
    """Who carries out a batch, and what who asks has seen of the books. `fresh`: the server was just looked at."""
    return _in_a_row((life, fresh) if seen is None else (life, fresh, seen.born, seen.life, seen.batches))


def packed_steps(steps: Sequence[Step]) -> list[bytes]:
    """A batch: each step a row of values, one packed after the other.

    Raises ValueError where a step makes no sense, ConfigError where a figure is too large to be exact.
    """
    return [_in_a_row(_packed(step)) for step in steps]


def _in_a_row(values: Sequence[object]) -> bytes:
    """Without the head that would make an array of them: the book unpacks it faster."""
    packed = msgspec.msgpack.encode(values)
    return packed[1 if len(values) < 16 else 3 if len(values) < 65_536 else 5 :]


def field_of(hold_id: str) -> str:
    """Where a hold stands in the book. No window is named so: their names begin with a period."""
    return f"#{hold_id}"


def _packed(step: Step) -> Sequence[object]:
    match step:
        case Reserve():
            return _packed_reserve(step)
        case Settle():
            return _packed_settle(step)
        case TopUp():
            uses = [packed_use(use) for use in step.windows]
            likely_more = packed_amount(step.more if step.likely is None else step.likely)
            return 2, field_of(step.hold_id), step.number, uses, packed_amount(step.more), likely_more
        case Renew():
            return 4, [field_of(hold_id) for hold_id in step.hold_ids], step.lease
        case Adopt():
            # The server has no calendar: it is told when one of that begins.
            begin = False if step.window.rolling else begin_of(step.window, step.window.end - 1.0)
            return 5, step.account, packed_use(step.window), begin
        case Release():
            return 6, field_of(step.hold_id), step.reason
        case Change():
            tokens = False if step.limit_tokens is None else packed_tokens(step.limit_tokens, most=MOST_ALLOWED)
            money = False if step.limit_nano_usd is None else packed_money(step.limit_nano_usd)
            spent_tokens = False if step.spent_tokens is None else packed_tokens(step.spent_tokens)
            spent_money = False if step.spent_nano_usd is None else packed_money(step.spent_nano_usd)
            use = packed_use(step.window)
            return 7, step.account, use, step.reset, tokens, money, spent_tokens, spent_money, step.reason


def _packed_reserve(step: Reserve) -> list[object]:
    if not 0 <= step.min_output <= step.max_output:
        raise ValueError(f"outputs from {step.min_output} to {step.max_output} are no range")
    most = packed_tokens(step.max_output, most=MOST_ALLOWED)
    values: list[object] = [1, field_of(step.hold_id), step.account, step.min_output, most, step.lease, step.waits]
    values += len(step.windows), len(step.lines), len(step.likely)
    for use in step.windows:
        values += packed_use(use)
    for line in (*step.lines, *step.likely):
        values += packed_line(line, step.max_output)
    return values


def _packed_settle(step: Settle) -> list[object]:
    values: list[object] = [3, field_of(step.hold_id), step.account, step.estimated, step.turns]
    values += len(step.windows), len(step.spent)
    values += packed_amount(step.charged)
    for use in step.windows:
        values += packed_use(use)
    for one in step.spent:
        values += one.target, one.estimated, one.attempts
        values += one.input_tokens, one.cached_input_tokens, one.cache_write_tokens
        values += one.output_tokens, one.reasoning_tokens, *packed_money(one.nano_usd)
    return values


@contextmanager
def understood() -> Generator[None]:
    """What is read from the server is what a book of this version wrote, or LedgerUnavailableError says so."""
    try:
        yield
    except (msgspec.DecodeError, struct.error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise LedgerUnavailableError(
            "the ledger on redis holds or answers what penstock did not write there; check that url leads to a Redis or"
            " Valkey, and that nothing else uses the namespace"
        ) from error


LOST = (
    "the ledger's books on the server are gone: it was restarted without its data, flushed, put in the place of"
    " another, or its clock was set back by hand. What was spent is not known any more, so this process refuses calls"
    " of accounts with limits; bring the data back (appendonly yes keeps it), or start the process anew to begin with"
    " the books that are there"
)


OLDER = (
    "the ledger's books on the server are older than this process knew them{lacking}: it was restarted from a snapshot,"
    " or a replica that lagged behind took its place. What was spent since is not in them, so this process refuses"
    " calls of accounts with limits; bring the data back (appendonly yes with appendfsync always keeps all of it), or"
    " start the process anew to go on with the books that are there (penstock budget set corrects what is spent)"
)


def landed(reply: bytes, life: str) -> tuple[Landed, Seen]:
    """The answers to a batch that was carried out in this life of the server, and how far the books have come.

    Raises ConfigError where the content is of another version, LedgerUnavailableError where the books are lost or lack
    what was seen of them, LookAgain where the server has begun another life.
    """
    match unpacked(reply):
        case [False, 0]:
            raise LedgerUnavailableError(LOST)
        case [False, -1, missing]:
            lacking = f" ({int(missing)} batches are missing)" if missing else ""
            raise LedgerUnavailableError(OLDER.format(lacking=lacking))
        case [False, -2]:
            raise LookAgain
        case [False, version]:
            raise _of_another_version(version)
        case [now, answers, born, batches]:
            return Landed(float(now), tuple([_answer(one) for one in answers])), Seen(float(born), life, int(batches))
        case _:
            raise ValueError


def packed_ends(reason: str, keys: Iterable[str], now: float) -> bytes:
    """When each of these windows ends at that time, for a clock that is set back to it."""
    return msgspec.msgpack.encode((reason, {key: window_end(window_of(key)[1], now) for key in keys}))


def clock_before(reply: bytes) -> float | None:
    """The clock that was set back; None where it was not, for a window had come meanwhile. Raises ConfigError."""
    told = unpacked(reply)
    if told and told[0] is False:
        raise _of_another_version(told[1])
    return float(told[0]) if told else None


def _of_another_version(version: object) -> ConfigError:
    return ConfigError(
        f"[ledger] store = redis: its content is of version {f'{version}'[:20]}, and this penstock keeps version"
        f" {BOOK_VERSION}; use another namespace, or the penstock that wrote it"
    )


def _answer(packed: list[Any]) -> Answer:
    match packed[0]:
        case 1:
            return Held(packed[1], amount_from(packed[2]), None if packed[3] is False else amount_from(packed[3]))
        case 2:
            return Lacking(tuple([_lack(lack) for lack in packed[1]]), tuple(packed[2]), packed[3])
        case 3:
            return Charged(amount_from(packed[1]), tuple([_turn(turn) for turn in packed[2]]))
        case 5:
            return STALE
        case 6:
            return Changed(_state(packed[1]), _state(packed[2]))
        case 7:
            return Changed(*_released(packed[1]))
        case _:
            return KNOWN


def _turn(packed: list[Any]) -> Turn:
    key, before, after, end, tokens, money = packed
    return Turn(
        key,
        amount_from(before),
        amount_from(after),
        float(end),
        None if tokens is False else int(tokens),
        None if money is False else money_from(money),
    )


def _lack(packed: list[Any]) -> Lack:
    key, tokens, money, missing, of_spent, refills, frees, otherwise, by_estimate = packed
    return Lack(
        key,
        None if tokens is False else tokens,
        None if money is False else money_from(money),
        amount_from(missing),
        None if of_spent is False else amount_from(of_spent),
        None if refills is False else float(refills),
        None if frees is False else float(frees),
        None if otherwise is False else amount_from(otherwise),
        by_estimate,
    )


def _state(packed: list[Any]) -> str:
    spent, tokens, money = packed
    limits = [
        *([] if money is False else [f"{usd_in_words(money_from(money))} USD"]),
        *([] if tokens is False else [f"{tokens} tokens"]),
    ]
    return f"{_in_words(amount_from(spent))} spent of {' and '.join(limits) or 'no limit'}"


def _released(packed: list[int]) -> tuple[str, str]:
    amount = _in_words(amount_from(packed))
    return f"{amount} held", f"{amount} charged"


def _in_words(amount: Amount) -> str:
    return f"{usd_in_words(amount.nano_usd)} USD and {amount.tokens} tokens"


# Rows


def window_row(key: str, packed: bytes, now: float) -> WindowRow:
    """A window as it is now."""
    figures = struct.unpack(f"<{len(packed) // 8}d", packed)
    # Doubles without loss: see `figures`.
    tokens, usd, nano = map(int, figures[:3])
    # Three more figures, or eight: as books of a former version have it until their next batch, or this one.
    buckets = [figures[at : at + 10] for at in range(len(figures) % 10, len(figures), 10)]
    live = [(bucket[0], *map(int, bucket[1:])) for bucket in buckets if bucket[0] > now]
    return WindowRow(
        key=key,
        held=sum([amount_from(bucket[1:4]) for bucket in live], NOTHING),
        spent=sum([amount_from(bucket[4:7]) for bucket in live], NOTHING),
        estimated=sum([amount_from(bucket[7:10]) for bucket in live], NOTHING),
        ends_at=live[0][0] if live else None,
        limit_tokens=None if tokens < 0 else tokens,
        limit_nano_usd=None if usd < 0 else money_from([usd, nano]),
    )


def hold_row(field: str, packed: bytes) -> HoldRow:
    """A hold that is not settled."""
    account, _, reserved_at, lease_ends, _, lapsed, *flat = unpacked(packed)
    amount, at = NOTHING, 0
    while at < len(flat):
        likely, tokens, usd, nano, places = flat[at : at + 5]
        amount += NOTHING if likely else amount_from((tokens, usd, nano))
        at += 5 + places
    return HoldRow(
        hold_id=field[1:],
        account=account,
        amount=amount,
        reserved_at=float(reserved_at),
        lease_ends=float(lease_ends),
        lapsed=bool(lapsed),
    )


def history_row(packed: bytes) -> HistoryRow:
    """Something that was done by hand."""
    at, action, account, window, reason, figures = unpacked(packed)
    match action:
        case "release":
            before, after = _released(*figures)
        case "clock":
            before, after = (time_in_words(figure) for figure in figures)
        case _:
            before, after = _state(figures[0]), _state(figures[1])
    return HistoryRow(
        at=float(at), action=action, account=account, window=window, before=before, after=after, reason=reason
    )


def spend_row(field: bytes, packed: bytes) -> SpendRow:
    """What was spent in one quarter."""
    quarter, account, target, estimated = unpacked(field[1:])
    calls, attempts, given, cached, written, output, reasoning, usd, nano = map(int, struct.unpack("<9d", packed))
    spent = Spent(
        target=target,
        attempts=attempts,
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        reasoning_tokens=reasoning,
        nano_usd=money_from([usd, nano]),
        estimated=estimated,
    )
    return SpendRow(since=float(quarter), account=account, calls=calls, spent=spent)
