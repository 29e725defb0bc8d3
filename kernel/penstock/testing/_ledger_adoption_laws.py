"""The laws of what a window takes over from others of its account and period, and of what was put right by hand."""

from __future__ import annotations

import msgspec

from penstock.policy.ledger_steps import Known, Release, WindowUse
from penstock.testing._ledger_bench import MakeLedger, on_bench

__all__ = [
    "correction_by_hand_has_in_it_what_had_lapsed",
    "correction_by_hand_is_undone_by_no_adoption",
    "correction_of_all_by_hand_has_missed_nothing",
    "hold_put_right_by_hand_comes_back_in_no_new_window",
    "hold_that_lapsed_before_a_window_began_is_not_charged_in_it",
    "window_takes_over_nothing_of_the_last_span_before_its_own",
    "window_takes_over_nothing_that_is_older_than_its_span",
    "window_that_began_with_nothing_has_missed_nothing",
    "window_that_counts_takes_over_what_was_counted_without_it",
    "windows_side_by_side_take_nothing_from_each_other",
]

DAY = 86_400.0


def tomorrow(window: WindowUse) -> WindowUse:
    """As somebody asks whose clock is a day ahead."""
    return msgspec.structs.replace(window, end=window.end + DAY)


async def window_takes_over_nothing_that_is_older_than_its_span(make: MakeLedger) -> None:
    """What was spent yesterday says nothing of today, in whichever window it still counts."""
    async with on_bench(make) as bench:
        rolling, utc = bench.real_window("day:rolling:team"), bench.real_window("day:UTC:team")
        await bench.commit(bench.reserve("a", rolling, utc, tokens=40), bench.settle("a", 40))
        await bench.one(bench.adopt(tomorrow(bench.real_window("day:Asia/Tokyo:team"))))
        await bench.expect_row("day:Asia/Tokyo:team", "a window that merely begins")
        await bench.one(bench.adopt(bench.real_window("day:Europe/Berlin:team")))
        await bench.expect_row("day:Europe/Berlin:team", "one in whose time it was spent", spent=40)


async def hold_that_lapsed_before_a_window_began_is_not_charged_in_it(make: MakeLedger) -> None:
    """It was charged when it was reserved."""
    async with on_bench(make) as bench:
        month = bench.window("month:UTC:team")
        await bench.one(bench.reserve("dead", month, tokens=40, spans=1))
        await bench.one(bench.reserve("lives", month, tokens=5))
        await bench.pass_spans(2)
        await bench.one(bench.adopt(tomorrow(bench.real_window("day:UTC:team"))))
        await bench.expect_row("day:UTC:team", "a window that begins later", held=5)
        await bench.one(bench.adopt(bench.real_window("day:Asia/Tokyo:team")))
        await bench.expect_row("day:Asia/Tokyo:team", "one of its own time", held=5, spent=40, estimated=40)
        await bench.one(bench.settle("dead", 30))
        await bench.expect_row("day:UTC:team", "and the truth, there", held=5)
        await bench.expect_row("day:Asia/Tokyo:team", "and here", held=5, spent=30)


async def windows_side_by_side_take_nothing_from_each_other(make: MakeLedger) -> None:
    """What the one has more is what was spent before the other began."""
    async with on_bench(make) as bench:
        utc, rolling = bench.real_window("day:UTC:team"), bench.real_window("day:rolling:team")
        berlin = bench.real_window("day:Europe/Berlin:team")
        await bench.commit(bench.reserve("a", rolling, tokens=40), bench.settle("a", 40))
        await bench.commit(bench.reserve("b", rolling, utc, berlin, tokens=5), bench.settle("b", 5))
        await bench.commit(bench.adopt(utc), bench.adopt(berlin), bench.adopt(rolling))
        await bench.expect_row(utc.key, "side by side", spent=5)
        await bench.expect_row(berlin.key, "side by side", spent=5)
        await bench.expect_row(rolling.key, "side by side", spent=45)


async def window_that_counts_takes_over_what_was_counted_without_it(make: MakeLedger) -> None:
    """By processes that know nothing of it yet: also where others have counted in both since."""
    async with on_bench(make) as bench:
        utc, tokyo = bench.real_window("day:UTC:team"), bench.real_window("day:Asia/Tokyo:team")
        await bench.commit(bench.reserve("a", utc, tokens=10), bench.settle("a", 10))
        await bench.commit(bench.adopt(tokyo), bench.reserve("b", utc, tokyo, tokens=20), bench.settle("b", 20))
        await bench.commit(bench.reserve("c", utc, tokens=40), bench.settle("c", 40))
        await bench.one(bench.reserve("e", utc, tokens=7))
        await bench.commit(bench.reserve("d", utc, tokyo, tokens=80), bench.settle("d", 80))
        await bench.expect_row(tokyo.key, "until it is adopted again", spent=110)
        bench.expect(await bench.one(bench.adopt(tokyo)), Known(), "adopting")
        await bench.expect_row(tokyo.key, "what was counted without it", held=7, spent=150)
        await bench.one(bench.adopt(tokyo))
        await bench.expect_row(tokyo.key, "once", held=7, spent=150)
        await bench.one(bench.settle("e", 6))
        await bench.expect_row(tokyo.key, "and what was held", spent=156)


async def correction_by_hand_has_in_it_what_had_lapsed(make: MakeLedger) -> None:
    """A hold that comes back takes nothing away that others were charged since."""
    async with on_bench(make) as bench:
        window = bench.window()
        await bench.one(bench.reserve("asleep", window, tokens=40, nano_usd=4, spans=1))
        await bench.one(bench.reserve("lost", window, tokens=20, nano_usd=2))
        await bench.one(Release("lost", "seems lost"))
        await bench.pass_spans(2)
        await bench.one(bench.change(window, spent_tokens=0))
        await bench.one(bench.reserve("killed", window, tokens=300, spans=1))
        await bench.pass_spans(2)
        await bench.one(bench.renew("asleep", spans=9))
        law = "only money was not put right"
        await bench.expect_row(window.key, law, held=40, spent=300, estimated=300, usd=(4, 2))
        await bench.one(bench.settle("lost", 5, nano_usd=1))
        await bench.expect_row(window.key, law, held=40, spent=305, estimated=300, usd=(4, 1))
        await bench.one(bench.settle("killed", 50))
        await bench.expect_row(window.key, "what lapsed later is taken away", held=40, spent=55, usd=(4, 1))
        await bench.one(bench.settle("asleep", 30, nano_usd=3))
        await bench.expect_row(window.key, "the truth", spent=85, usd=(0, 4))
        # A released one lapses again with what is added to it, and that charge is its own.
        await bench.one(bench.reserve("more", window, tokens=10))
        await bench.one(Release("more", "seems lost"))
        await bench.pass_spans(1)
        await bench.one(bench.change(window, reset=True))
        await bench.pass_spans(1)
        await bench.one(bench.top_up("more", 1, window, tokens=2))
        await bench.expect_row(window.key, "all of it is charged anew", spent=12, estimated=12)
        await bench.one(bench.settle("more", 11))
        await bench.expect_row(window.key, "and is taken away", spent=11)


async def correction_by_hand_is_undone_by_no_adoption(make: MakeLedger) -> None:
    """What others had spent before it is in it."""
    async with on_bench(make) as bench:
        utc, tokyo = bench.real_window("day:UTC:team"), bench.real_window("day:Asia/Tokyo:team")
        await bench.commit(bench.reserve("a", utc, tokyo, tokens=10, nano_usd=3), bench.settle("a", 10, nano_usd=3))
        await bench.commit(bench.reserve("b", utc, tokens=40, nano_usd=4), bench.settle("b", 40, nano_usd=4))
        await bench.pass_spans(1)
        await bench.one(bench.change(tokyo, spent_tokens=1))
        await bench.one(bench.adopt(tokyo))
        await bench.expect_row(tokyo.key, "tokens were put right", spent=1, usd=(0, 7))
        await bench.pass_spans(1)
        await bench.commit(bench.reserve("c", utc, tokens=1), bench.settle("c", 1))
        await bench.one(bench.adopt(tokyo))
        await bench.expect_row(tokyo.key, "others have gone on since", spent=51, usd=(0, 7))


async def correction_of_all_by_hand_has_missed_nothing(make: MakeLedger) -> None:
    """What others had counted without the window before does not come with what they count beside it."""
    for changes in ({"reset": True}, {"spent_tokens": 0, "spent_nano_usd": 0}):
        async with on_bench(make) as bench:
            utc, tokyo = bench.real_window("day:UTC:team"), bench.real_window("day:Asia/Tokyo:team")
            await bench.commit(bench.reserve("a", utc, tokyo, tokens=10), bench.settle("a", 10))
            await bench.commit(bench.reserve("b", utc, tokens=40), bench.settle("b", 40))
            await bench.commit(bench.reserve("c", utc, tokyo, tokens=80), bench.settle("c", 80))
            await bench.one(bench.change(tokyo, **changes))
            await bench.pass_spans(1)
            await bench.commit(bench.reserve("d", utc, tokyo, tokens=5), bench.settle("d", 5))
            await bench.one(bench.adopt(tokyo))
            await bench.expect_row(tokyo.key, "side by side since", spent=5)
            await bench.commit(bench.reserve("e", utc, tokens=1), bench.settle("e", 1))
            await bench.one(bench.adopt(tokyo))
            await bench.expect_row(tokyo.key, "the other went on without it", spent=136)


async def hold_put_right_by_hand_comes_back_in_no_new_window(make: MakeLedger) -> None:
    """Its charge does not: what its call comes to in the end counts there all the same."""
    for still_charged in (False, True):
        async with on_bench(make) as bench:
            utc, tokyo = bench.real_window("day:UTC:team"), bench.real_window("day:Asia/Tokyo:team")
            berlin = bench.real_window("day:Europe/Berlin:team")
            windows = (utc, berlin) if still_charged else (utc,)
            await bench.one(bench.reserve("other", berlin, tokens=7))
            await bench.one(Release("other", "seems lost"))
            await bench.pass_spans(1)
            await bench.one(bench.reserve("lost", *windows, tokens=900, nano_usd=9))
            await bench.one(Release("lost", "seems lost"))
            await bench.pass_spans(1)
            await bench.one(bench.change(utc, spent_tokens=0))
            await bench.one(bench.adopt(tokyo))
            spent = 907 if still_charged else 7
            await bench.expect_row(tokyo.key, "what stands", spent=spent, estimated=spent, usd=(0, 9))
            await bench.one(bench.settle("lost", 5, nano_usd=1))
            await bench.expect_row(tokyo.key, "and the truth", spent=12, estimated=7, usd=(0, 1))
            await bench.expect_row(utc.key, "where it was put right", spent=5, usd=(0, 1))


async def window_that_began_with_nothing_has_missed_nothing(make: MakeLedger) -> None:
    """What was spent in another before it began is not taken over later, although the other was adopted meanwhile."""
    async with on_bench(make) as bench:
        utc, tokyo = bench.real_window("day:UTC:team"), bench.real_window("day:Asia/Tokyo:team")
        await bench.commit(bench.reserve("a", tokyo, tokens=900), bench.settle("a", 900))
        begins = tomorrow(utc)
        await bench.one(bench.adopt(begins))
        await bench.commit(bench.reserve("b", begins, tokens=10), bench.settle("b", 10))
        await bench.commit(bench.reserve("c", begins, tokens=20), bench.settle("c", 20))
        await bench.one(bench.adopt(tokyo))
        await bench.one(bench.adopt(utc))
        await bench.expect_row(utc.key, "nothing was counted without it", spent=30)
        await bench.commit(bench.reserve("d", tokyo, tokens=5), bench.settle("d", 5))
        await bench.one(bench.adopt(utc))
        await bench.expect_row(utc.key, "the other went on without it", spent=905)


async def window_takes_over_nothing_of_the_last_span_before_its_own(make: MakeLedger) -> None:
    """A rolling window counts by spans of its own, of which one ends as a calendar window begins."""
    async with on_bench(make) as bench:
        utc = bench.real_window("day:UTC:team")
        rolling = bench.real_window("day:rolling:team")
        before, within = (msgspec.structs.replace(rolling, end=utc.end + late) for late in (0.0, 60.0))
        await bench.commit(bench.reserve("a", before, tokens=900), bench.settle("a", 900))
        await bench.commit(bench.reserve("b", within, tokens=10), bench.settle("b", 10))
        await bench.one(bench.adopt(utc))
        await bench.expect_row(utc.key, "what was spent before", spent=10)
