"""Laws of ledger stores about windows and time: where a charge counts, for how long, what a new window begins with."""

from __future__ import annotations

from penstock.actors.store_standing import without_waiting
from penstock.errors import LedgerUnavailableError
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import Charged, Held, Known, Settle, Stale, Turn, WindowUse
from penstock.testing._laws import BrokenLawError
from penstock.testing._ledger_bench import MakeLedger, on_bench

__all__ = [
    "calendar_window_goes_on_until_its_end",
    "charge_counts_in_the_window_of_its_reservation",
    "charge_without_a_hold_is_known_for_a_day",
    "empty_batch_tells_the_time_which_never_goes_back",
    "new_window_begins_with_what_its_siblings_know",
    "parts_of_a_hold_are_charged_each_in_its_window",
    "rolling_window_refills_bucket_by_bucket",
    "step_in_a_window_that_is_over_is_stale",
    "waits_for_nothing_where_it_says_so",
    "window_that_is_known_adopts_nothing",
]


async def empty_batch_tells_the_time_which_never_goes_back(make: MakeLedger) -> None:
    """Unix time, whatever is carried out; it goes on."""
    async with on_bench(make) as bench:
        seen = [bench.began]
        window = bench.window()
        for number in range(5):
            seen.append(await bench.now())
            seen.append((await bench.store.commit((bench.reserve(f"h{number}", window),))).now)
        await bench.pass_spans(2)
        seen.append(await bench.now())
        bench.expect(seen, sorted(seen), "time never goes back")
        bench.expect(seen[-1] - seen[0] >= 1.9 * bench.span, wanted=True, law="time goes on")


async def waits_for_nothing_where_it_says_so(make: MakeLedger) -> None:
    """Where `waits` is False `commit` never comes to a checkpoint: the kernel carries it out in a caller's own task."""
    async with on_bench(make) as bench:
        hold = bench.reserve("h", bench.window(tokens=100), tokens=10)
        for step in () if bench.store.waits else (hold, bench.settle("h", 5)):
            try:
                without_waiting(bench.store.commit([step]))
            except LedgerUnavailableError as waited:
                raise BrokenLawError(f"a store that does not wait: {waited}") from None


async def step_in_a_window_that_is_over_is_stale(make: MakeLedger) -> None:
    """Nothing is done, and its neighbours are carried out. A hold is settled all the same."""
    async with on_bench(make) as bench:
        day, hour = bench.window("day:UTC:team", tokens=100), bench.window("hour:UTC:team", tokens=100, spans=3)
        new = bench.window("hour:Europe/Berlin:team", spans=3)
        await bench.commit(bench.reserve("a", day, hour, tokens=10), bench.reserve("b", day, tokens=20))
        await bench.pass_spans(4)
        charge = Settle(hold_id="x", charged=Amount(1), windows=(day, hour), account="team")
        answers = await bench.commit(
            bench.reserve("c", day, hour, tokens=5),
            bench.top_up("b", 1, day, hour, tokens=5),
            charge,
            bench.adopt(new),
            bench.change(hour, spent_tokens=9),
            bench.reserve("d", day, tokens=5),
            bench.settle("a", 7),
        )
        turns = (Turn(day.key, NOTHING, Amount(7), day.end),)
        wanted = (Stale(), Stale(), Stale(), Stale(), Stale(), Held(0, Amount(5)), Charged(Amount(10), turns))
        bench.expect(answers, wanted, "steps in windows that are over")
        await bench.expect_row(day.key, "nothing is done by a stale step", held=25, spent=7)
        await bench.expect_row(hour.key, "nothing counts in a window that is over")
        charge = Settle(hold_id="x", charged=Amount(1), windows=(day,), account="team")
        turn = Turn(day.key, Amount(7), Amount(8), day.end)
        bench.expect(await bench.one(charge), Charged(NOTHING, (turn,)), "a stale charge may be sent again")
        bench.expect(await bench.one(bench.reserve("a", day, hour)), Known(), "what is settled is known before stale")
        bench.expect(await bench.one(bench.reserve("b", hour)), Held(0, Amount(20)), "and so is what is held")


async def charge_counts_in_the_window_of_its_reservation(make: MakeLedger) -> None:
    """Not in the one that began while the call ran."""
    async with on_bench(make) as bench:
        first = bench.window(tokens=100, spans=4)
        await bench.expect_held(bench.reserve("a", first, tokens=80), "a hold")
        await bench.pass_spans(5)
        second = bench.window(tokens=100, spans=100)
        await bench.expect_held(bench.reserve("b", second, tokens=100), "a new window has all its room")
        # The window goes on under the same name: it is told of, and not changed.
        turn = Turn(second.key, NOTHING, NOTHING, second.end)
        bench.expect(await bench.one(bench.settle("a", 70)), Charged(Amount(80), (turn,)), "a charge of yesterday")
        await bench.expect_row(second.key, "a charge of yesterday", held=100)


async def calendar_window_goes_on_until_its_end(make: MakeLedger) -> None:
    """Its end is that of the step which began it, whatever a later step thinks of it; then the next one begins."""
    async with on_bench(make) as bench:
        key = "day:UTC:team"
        await bench.expect_held(bench.reserve("a", bench.window(key, tokens=100, spans=5), tokens=60), "a hold")
        longer, shorter = bench.window(key, tokens=100, spans=50), bench.window(key, tokens=100, spans=2)
        await bench.expect_lacking(bench.reserve("b", longer, tokens=50), "a window counts all of its day")
        await bench.expect_held(bench.reserve("b", longer, tokens=20), "a window counts all of its day")
        await bench.expect_held(bench.reserve("c", shorter, tokens=20), "a window counts all of its day")
        row = await bench.row(key)
        bench.expect((row.held, row.ends_at), (Amount(100), bench.began + 5 * bench.span), "the end of a window")
        await bench.pass_spans(6)
        await bench.expect_held(bench.reserve("d", longer, tokens=100), "after its end")
        row = await bench.row(key)
        bench.expect((row.held, row.ends_at), (Amount(100), longer.end), "the end of the next window")


async def rolling_window_refills_bucket_by_bucket(make: MakeLedger) -> None:
    """Each bucket leaves at its own end; a refusal names the first at which it would fit, and the first that leaves."""
    async with on_bench(make) as bench:
        key = "hour:rolling:team"

        def until(spans: float) -> WindowUse:
            return bench.window(key, spans=spans, tokens=100, rolling=True)

        await bench.commit(
            bench.reserve("a", until(5), tokens=30),
            bench.settle("a", 30),
            bench.reserve("b", until(8), tokens=30),
            bench.settle("b", 30),
            bench.reserve("c", until(11), tokens=40),
        )
        # Sent late: it counts in the newest bucket, so that buckets stay in order.
        await bench.expect_held(bench.reserve("late", until(8)), "a bucket that is not the newest")
        lacking = await bench.expect_lacking(bench.reserve("d", until(11), tokens=60), "a window that rolls")
        (lack,) = lacking.lacks
        bench.expect((lack.missing, lack.missing_of_spent), (Amount(60), Amount(20)), "what is missing")
        bench.expect((lack.refills_at, lack.frees_at), (until(5).end, until(5).end), "when it refills")
        lacking = await bench.expect_lacking(bench.reserve("d", until(11), tokens=80), "a window that rolls")
        bench.expect(lacking.lacks[0].refills_at, until(8).end, "when more of it refills")
        bench.expect((await bench.row(key)).ends_at, until(5).end, "the first bucket that leaves")
        await bench.pass_spans(6)
        await bench.expect_held(bench.reserve("e", until(14), tokens=30), "the first bucket has left")
        await bench.expect_lacking(bench.reserve("f", until(14), tokens=1), "and no other")
        await bench.expect_row(key, "the first bucket has left", held=70, spent=30)
        await bench.pass_spans(3)
        await bench.now()
        await bench.expect_row(key, "the second bucket has left", held=70)
        await bench.one(bench.settle("c", 5))
        await bench.expect_row(key, "a charge counts in the bucket of its hold", held=30, spent=5)
        await bench.pass_spans(3)
        await bench.now()
        await bench.expect_row(key, "and leaves with it", held=30)


async def parts_of_a_hold_are_charged_each_in_its_window(make: MakeLedger) -> None:
    """What was topped up counts in the window of the top-up: first what was held first, all the rest in the last."""
    async with on_bench(make) as bench:
        day = bench.window("day:UTC:team", tokens=1_000)
        first = bench.window("hour:UTC:team", tokens=100, spans=4)
        for hold_id in ("a", "b", "c"):
            await bench.expect_held(bench.reserve(hold_id, day, first, tokens=30), "a hold")
        await bench.pass_spans(5)
        second = bench.window("hour:UTC:team", tokens=100, spans=100)
        for hold_id in ("a", "b", "c"):
            bench.expect(
                await bench.one(bench.top_up(hold_id, 1, day, second, tokens=20)), Held(0, Amount(50)), "a top-up"
            )
        await bench.expect_row(second.key, "a top-up counts in the window of now", held=60)
        await bench.expect_row(day.key, "a top-up in the same window", held=150)
        await bench.one(bench.settle("a", 20))
        await bench.expect_row(second.key, "what was charged is less than the first part", held=40)
        await bench.one(bench.settle("b", 40))
        await bench.expect_row(second.key, "what was charged is more than the first part", held=20, spent=10)
        await bench.one(bench.settle("c", 70))
        await bench.expect_row(second.key, "an overrun belongs to the last part", spent=50)
        await bench.expect_row(day.key, "a window that holds all parts", spent=130)


async def charge_without_a_hold_is_known_for_a_day(make: MakeLedger) -> None:
    """Its answer may be lost, and the store away for longer than any lease: sent again, it is charged once."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=1_000)
        charge = Settle(hold_id="through", charged=Amount(300), account="team", windows=(window,))
        bench.expect(type(await bench.one(charge)), Charged, "a charge without a hold")
        await bench.pass_spans(100)
        bench.expect(await bench.one(charge), Known(), "a charge without a hold that is sent again")
        await bench.expect_row(window.key, "a charge without a hold", spent=300)
        # Its reserve was carried out all the same, and only the answer was late.
        await bench.one(bench.reserve("held", window, tokens=40, spans=1))
        charge = Settle(hold_id="held", charged=Amount(30), account="team", windows=(window,))
        bench.expect(type(await bench.one(charge)), Charged, "a charge that may have no hold")
        await bench.pass_spans(100)
        bench.expect(await bench.one(charge), Known(), "and is sent again")
        await bench.expect_row(window.key, "a charge that may have no hold", spent=330)


async def new_window_begins_with_what_its_siblings_know(make: MakeLedger) -> None:
    """With the most that others of the same account and period have spent, and with the holds of its subtree."""
    async with on_bench(make) as bench:
        utc, berlin = bench.real_window("day:UTC:team"), bench.real_window("day:Europe/Berlin:team", tokens=1_000)
        rolling, hour = bench.real_window("day:rolling:team"), bench.window("hour:UTC:team")
        strange = bench.window("day:UTC:team/a"), bench.window("day:UTC:tea"), bench.window("day:UTC:x:team")
        await bench.commit(
            bench.reserve("s", utc, hour, tokens=40, nano_usd=9),
            bench.settle("s", 40, nano_usd=9),
            bench.reserve("t", rolling, tokens=50, nano_usd=3),
            bench.settle("t", 50, nano_usd=3),
            bench.reserve("u", *strange, hour, tokens=500),
            bench.settle("u", 500),
            bench.reserve("own", utc, tokens=5, account="team"),
            bench.reserve("child", utc, tokens=6, account="team/a"),
            bench.reserve("lapses", utc, tokens=20, account="team/a/b", spans=2),
            bench.reserve("stranger", utc, tokens=7, account="teams"),
            bench.reserve("parent", utc, tokens=8, account=""),
        )
        await bench.pass_spans(3)
        bench.expect(await bench.one(bench.adopt(berlin)), Known(), "adopting")
        law = "a new window begins with what its siblings know"
        await bench.expect_row(berlin.key, law, held=11, spent=70, estimated=20, usd=(0, 9))
        await bench.one(bench.settle("child", 2))
        await bench.expect_row(
            berlin.key, "holds that were there are settled in it", held=5, spent=72, estimated=20, usd=(0, 9)
        )
        await bench.one(bench.settle("lapses", 1))
        await bench.expect_row(berlin.key, "and so are those that had lapsed", held=5, spent=53, usd=(0, 9))
        await bench.expect_lacking(bench.reserve("v", berlin, tokens=943), "what was adopted counts")
        await bench.expect_held(bench.reserve("v", berlin, tokens=942), "what was adopted counts")


async def window_that_is_known_adopts_nothing(make: MakeLedger) -> None:
    """It knows its own; adopting twice is adopting once."""
    async with on_bench(make) as bench:
        utc, berlin = bench.window("day:UTC:team"), bench.real_window("day:Europe/Berlin:team")
        await bench.commit(bench.reserve("s", utc, tokens=40), bench.settle("s", 40))
        await bench.commit(bench.reserve("t", berlin, tokens=3), bench.settle("t", 3))
        await bench.one(bench.adopt(berlin))
        await bench.expect_row(berlin.key, "a window that is known", spent=3)
        tokyo = bench.real_window("day:Asia/Tokyo:team")
        await bench.commit(bench.change(tokyo, limit_tokens=500), bench.adopt(tokyo))
        await bench.expect_row(tokyo.key, "a window of which only a limit is known is new", spent=40)
        root = bench.window("day:UTC:")
        await bench.one(bench.reserve("h", utc, tokens=2))
        await bench.commit(bench.adopt(root, ""), bench.adopt(root, ""))
        await bench.expect_row(root.key, "a window of the root", held=2)
        # Its time is over, and it is known no more: it begins anew, without what was reserved in it before.
        hour = bench.window("hour:UTC:team", spans=2)
        await bench.one(bench.reserve("k", hour, tokens=80))
        await bench.pass_spans(3)
        hour = bench.window("hour:UTC:team", spans=100)
        await bench.one(bench.adopt(hour))
        law = "a hold of the window's last time stays where it was reserved, those of others are counted"
        await bench.expect_row(hour.key, law, held=2)
        await bench.one(bench.settle("k", 70))
        await bench.expect_row(hour.key, "and so does its charge", held=2)
