"""What is foreseen of a reserve is what comes of it, whatever happened to its windows before."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.foreseen_hold import foresee_hold
from penstock.policy.holds import NOTHING, Amount, Line
from penstock.policy.ledger_book import LedgerBook
from penstock.policy.ledger_steps import (
    Change,
    Held,
    Lack,
    Lacking,
    Release,
    Reserve,
    Settle,
    Step,
    WindowRow,
    WindowUse,
)
from penstock.policy.memory_pages import MemoryPages

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
MIDNIGHT = NOON + 43_200
HOUR = 3_600.0


def windows(tokens: int | None, nano_usd: int | None) -> tuple[WindowUse, ...]:
    return (
        WindowUse("day:UTC:", MIDNIGHT, False, tokens, nano_usd),
        WindowUse("hour:rolling:team", NOON + HOUR, True, tokens),
    )


def reserve(
    hold_id: str, uses: Sequence[WindowUse], *, tokens: int, nano_usd: int = 0, outputs: tuple[int, int] = (0, 0)
) -> Reserve:
    return Reserve(
        hold_id=hold_id,
        account="team",
        windows=tuple(uses),
        lines=(Line(tokens, nano_usd, 1_000_000, 10_000),),
        min_output=outputs[0],
        max_output=outputs[1],
        lease=60.0,
    )


USES = st.builds(windows, st.sampled_from((None, 100, 1_000)), st.sampled_from((None, 50, 2_000)))
AMOUNTS = st.builds(Amount, st.integers(0, 400), st.integers(0, 400))


def held(name: str, uses: tuple[WindowUse, ...], amount: Amount) -> Step:
    return reserve(name, uses, tokens=amount.tokens, nano_usd=amount.nano_usd)


def settled(name: str, charged: Amount) -> Step:
    return Settle(hold_id=name, charged=charged)


def released(name: str) -> Step:
    return Release(name, "gone")


def changed(uses: tuple[WindowUse, ...], which: int, tokens: int) -> Step:
    return Change(account="", window=uses[which], limit_tokens=tokens)


NAMES = st.sampled_from("abcde")
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(held, NAMES, USES, AMOUNTS),
        st.builds(settled, NAMES, AMOUNTS),
        st.builds(released, NAMES),
        st.builds(changed, USES, st.integers(0, 1), st.sampled_from((0, 200, 5_000))),
    ),
    max_size=12,
)


@given(steps=STEPS, uses=USES, tokens=st.integers(0, 800), low=st.integers(0, 300), more=st.integers(0, 900))
def test_what_is_foreseen_is_what_comes_of_it(
    steps: Sequence[Step], uses: tuple[WindowUse, ...], tokens: int, low: int, more: int
) -> None:
    pages = MemoryPages()
    book = LedgerBook(pages)
    book.run(steps, NOON)
    step = reserve("new", uses, tokens=tokens, outputs=(low, low + more))
    rows = pages.windows(None, NOON)
    before = msgspec.json.encode(rows)
    foreseen = foresee_hold(step, rows, NOON)
    assert msgspec.json.encode(pages.windows(None, NOON)) == before
    assert foreseen == book.run([step], NOON).answers[0]


def test_an_empty_window_needs_no_row() -> None:
    step = reserve("new", windows(1_000, None), tokens=100, outputs=(1, 50))
    assert foresee_hold(step, (), NOON) == Held(50, Amount(150, 50))


def test_what_was_seen_in_a_window_that_is_over_does_not_count() -> None:
    seen = WindowRow(key="day:UTC:", held=NOTHING, spent=Amount(900), estimated=NOTHING, ends_at=NOON - 1)
    step = reserve("new", windows(1_000, None)[:1], tokens=500)
    assert isinstance(foresee_hold(step, [seen], NOON), Held)
    assert isinstance(foresee_hold(step, [msgspec.structs.replace(seen, ends_at=MIDNIGHT)], NOON), Lacking)


@pytest.mark.parametrize(("place", "refills"), [(0, MIDNIGHT), (1, NOON + HOUR)])
def test_it_is_told_when_what_is_spent_is_gone_at_the_latest(place: int, refills: float) -> None:
    use = windows(1_000, None)[place]
    seen = WindowRow(key=use.key, held=Amount(50), spent=Amount(900), estimated=NOTHING, ends_at=NOON + 5)
    foreseen = foresee_hold(reserve("new", (use,), tokens=500), [seen], NOON + (10 if place else 0))
    assert foreseen == Lacking(
        (Lack(use.key, 1_000, None, Amount(450), Amount(400), refills, refills, Amount(400)),), (), shortest_fits=False
    )
