"""Laws of ledger stores about what they keep for people: changes by hand, history, journal; and who shares them."""

from __future__ import annotations

from typing import Any

import trio

from penstock.abc import LedgerStore
from penstock.errors import ConfigError
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import Changed, Charged, Held, HistoryRow, Known, Release, Settle, Spent, Turn
from penstock.testing._ledger_bench import MakeLedger, on_bench

__all__ = [
    "any_name_is_a_name",
    "cancelled_commit_leaves_the_store_usable",
    "change_by_hand_is_kept_in_the_history",
    "journal_adds_up_by_account_and_target",
    "journal_has_what_ended_leases_charged",
    "limit_set_by_hand_counts_where_one_is_configured",
    "limits_set_by_hand_go_before_the_configured_ones",
    "others_see_the_same_ledger",
    "reset_forgets_what_was_spent_and_set",
    "reset_is_not_taken_for_room_by_late_truth",
    "spent_is_set_by_hand",
    "what_cannot_be_kept_spoils_nothing",
    "windows_that_are_unknown_are_left_out",
]

NAMES = (
    "team/ünïcode/日本語/🚰",
    "with space/and:colon",
    "quotes'\"`\\back",
    "{braces}[brackets]%d%s*?",
    "line\nbreak\ttab",
    "e\u0301 is not \u00e9/\u00e9",
    "a" * 300,
)


async def limits_set_by_hand_go_before_the_configured_ones(make: MakeLedger) -> None:
    """Also for who reserves with other limits, and in what a refusal tells; what is held stays held."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100, nano_usd=10**9)
        await bench.expect_held(bench.reserve("a", window, tokens=60), "a hold")
        changed = await bench.one(bench.change(window, limit_tokens=70))
        before, after = (
            "0 USD and 0 tokens spent of 1 USD and 100 tokens",
            "0 USD and 0 tokens spent of 1 USD and 70 tokens",
        )
        bench.expect(changed, Changed(before, after), "a change in words")
        lacking = await bench.expect_lacking(bench.reserve("b", window, tokens=11), "a limit that was set by hand")
        bench.expect((lacking.lacks[0].limit_tokens, lacking.lacks[0].limit_nano_usd), (70, 10**9), "what counted")
        await bench.one(bench.change(window, limit_tokens=50, limit_nano_usd=2 * 10**9))
        await bench.expect_row(window.key, "what is held stays held", held=60)
        await bench.expect_lacking(bench.reserve("b", window), "nothing is held under a limit that was lowered")
        row = await bench.row(window.key)
        bench.expect((row.limit_tokens, row.limit_nano_usd), (50, 2 * 10**9), "limits that were set by hand are shown")
        charged = await bench.one(bench.settle("a", 5))
        turn = Turn(window.key, NOTHING, Amount(5), window.end, 50, 2 * 10**9)
        bench.expect(charged, Charged(Amount(60), (turn,)), "a charge tells the limits that were set by hand")


async def limit_set_by_hand_counts_where_one_is_configured(make: MakeLedger) -> None:
    """In each unit for itself: where a step says no limit, by a reload, there is none for it to go before."""
    async with on_bench(make) as bench:
        counting, money = bench.window(), bench.window(nano_usd=10**9)
        await bench.one(bench.change(bench.window(tokens=100), limit_tokens=70, limit_nano_usd=7))
        await bench.expect_held(bench.reserve("a", counting, tokens=500, nano_usd=6), "a window that only counts")
        await bench.expect_held(bench.reserve("b", money, tokens=500), "a limit by hand in a unit that has none")
        lacking = await bench.expect_lacking(bench.reserve("c", money, nano_usd=2), "a limit by hand")
        bench.expect((lacking.lacks[0].limit_tokens, lacking.lacks[0].limit_nano_usd), (None, 7), "what counted")
        await bench.expect_lacking(bench.reserve("d", bench.window(tokens=10**6)), "a limit by hand when one is back")


async def what_cannot_be_kept_spoils_nothing(make: MakeLedger) -> None:
    """A batch with a step in it that a store cannot write down changes nothing, and the next one is carried out."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=10), "a hold")
        torn = bench.reserve("b", bench.window("day:UTC:t\ud800", tokens=100), tokens=1, account="t\ud800")
        huge = Settle(hold_id="c", charged=Amount(1), spent=(Spent(target="t\ud800", output_tokens=10**30),))
        for wrong in (torn, huge):
            try:
                await bench.commit(bench.settle("a", 7), wrong)
            except (ValueError, OverflowError, ConfigError):
                await bench.expect_row(window.key, "a batch that was not taken", held=10)
            else:
                return  # it can keep anything
        bench.expect(len(await bench.store.holds()), 1, "what is held beside a batch that was not taken")
        await bench.commit(bench.settle("a", 7), bench.reserve("d", window, tokens=20))
        await bench.expect_row(window.key, "the next batch", held=20, spent=7)


async def spent_is_set_by_hand(make: MakeLedger) -> None:
    """More or less than there was; no bucket goes below nothing, and estimates never exceed what is spent."""
    async with on_bench(make) as bench:
        day = bench.window(tokens=100)
        await bench.commit(bench.reserve("a", day, tokens=30), bench.settle("a", 30, nano_usd=8, estimated=True))
        await bench.one(bench.change(day, spent_tokens=95))
        await bench.expect_row(day.key, "more is spent", spent=95, estimated=30, usd=(0, 8))
        await bench.expect_lacking(bench.reserve("b", day, tokens=6), "what was set counts")
        await bench.one(bench.change(day, spent_tokens=20, spent_nano_usd=9))
        await bench.expect_row(day.key, "less is spent", spent=20, estimated=20, usd=(0, 9))

        for number, spans in enumerate((5, 6, 7)):
            window = bench.window("hour:rolling:team", spans=spans, rolling=True)
            await bench.commit(bench.reserve(f"r{number}", window, tokens=10), bench.settle(f"r{number}", 10))
        await bench.one(bench.change(bench.window("hour:rolling:team", spans=8, rolling=True), spent_tokens=13))
        await bench.expect_row("hour:rolling:team", "less is spent, the newest first", spent=13)
        await bench.pass_spans(5.5)
        await bench.now()
        await bench.expect_row("hour:rolling:team", "the oldest bucket was left as it was", spent=3)


async def reset_forgets_what_was_spent_and_set(make: MakeLedger) -> None:
    """The configured limits count again, nothing is spent, and what is held stays held."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.commit(
            bench.reserve("a", window, tokens=70),
            bench.settle("a", 70, estimated=True),
            bench.reserve("b", window, tokens=20),
            bench.change(window, limit_tokens=90),
        )
        changed = await bench.one(bench.change(window, reset=True))
        words = Changed("0 USD and 70 tokens spent of 90 tokens", "0 USD and 0 tokens spent of 100 tokens")
        bench.expect(changed, words, "a reset in words")
        await bench.expect_row(window.key, "a reset", held=20)
        bench.expect((await bench.row(window.key)).limit_tokens, None, "a reset takes back what was set")
        await bench.expect_held(bench.reserve("c", window, tokens=80), "a reset makes room")
        await bench.one(bench.settle("b", 20))
        await bench.expect_row(window.key, "what was held is charged after a reset", held=80, spent=20)


async def reset_is_not_taken_for_room_by_late_truth(make: MakeLedger) -> None:
    """A lapsed hold whose charge was reset is settled or renewed later: nothing was spent by then, never less."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.commit(
            bench.reserve("a", window, tokens=60, spans=2),
            bench.reserve("b", window, tokens=20, spans=2),
        )
        await bench.pass_spans(3)
        await bench.one(bench.change(window, reset=True))
        await bench.one(bench.settle("a", 10))
        await bench.expect_row(window.key, "the truth after a reset", spent=10)
        await bench.one(bench.renew("b", spans=9))
        await bench.expect_row(window.key, "a renewal after a reset", held=20, spent=10)
        await bench.expect_lacking(bench.reserve("c", window, tokens=71), "the limit after a reset")


async def change_by_hand_is_kept_in_the_history(make: MakeLedger) -> None:
    """Each with its time, its words and its reason, oldest first, and only those of the time asked for."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        times: list[float] = []
        await bench.one(bench.reserve("h", window, tokens=9))
        for step in (
            bench.change(window, spent_tokens=5, reason="the bill says so: ü"),
            bench.change(window, limit_tokens=50, reason="less"),
            bench.change(window, reset=True),
            Release("h", "gone"),
            Release("unknown", "gone"),
        ):
            times.append((await bench.store.commit((step,))).now)
            await bench.pass_spans(0.2)
        nothing, of = "0 USD and 0 tokens", "0 USD and 5 tokens spent of"
        spent = f"{of} 100 tokens", f"{of} 50 tokens"
        wanted = [
            row(times[0], "set", window.key, (f"{nothing} spent of 100 tokens", spent[0]), "the bill says so: ü"),
            row(times[1], "set", window.key, spent, "less"),
            row(times[2], "reset", window.key, (spent[1], f"{nothing} spent of 100 tokens"), ""),
            row(times[3], "release", "h", ("0 USD and 9 tokens held", "0 USD and 9 tokens charged"), "gone"),
        ]
        everything = await bench.store.history(since=0, until=times[-1] + 1)
        bench.expect(list(everything), wanted, "the history")
        some = await bench.store.history(since=times[1], until=times[3])
        bench.expect(list(some), wanted[1:3], "the history of a time: from its beginning, before its end")


async def journal_adds_up_by_account_and_target(make: MakeLedger) -> None:
    """Each call once, however often its charge is sent; what was guessed stands apart."""
    async with on_bench(make) as bench:
        window = bench.window()
        sonnet = Spent(
            target="sonnet", attempts=2, input_tokens=100, cached_input_tokens=60, output_tokens=7, nano_usd=10**16
        )
        haiku = Spent(target="haiku", cache_write_tokens=5, reasoning_tokens=3, output_tokens=4, nano_usd=1)
        guess = Spent(target="haiku", output_tokens=50, estimated=True)
        charges = [
            Settle(hold_id="a", charged=Amount(1), spent=(sonnet, haiku)),
            Settle(hold_id="b", charged=Amount(1), spent=(sonnet,)),
            Settle(hold_id="c", charged=Amount(1), spent=(guess,), estimated=True),
            Settle(hold_id="no hold", charged=Amount(1), spent=(haiku,), account="other", windows=(window,)),
        ]
        await bench.commit(*[bench.reserve(hold_id, window, tokens=9, account="team/ü") for hold_id in ("a", "b", "c")])
        for charge in charges:
            await bench.one(charge)
        await bench.commit(*charges)
        rows = await bench.store.spending(since=0, until=await bench.now() + 1)
        total: dict[tuple[str, str, bool], list[int]] = {}
        for one in rows:
            spent = one.spent
            # A quarter may have ended in between.
            sums = total.setdefault((one.account, spent.target, spent.estimated), [0, 0, 0, 0])
            for place, more in enumerate((one.calls, spent.attempts, spent.output_tokens, spent.nano_usd)):
                sums[place] += more
            bench.expect(one.since % 900, 0, "quarters of an hour")
        wanted = {
            ("team/ü", "sonnet", False): [2, 4, 14, 2 * 10**16],
            ("team/ü", "haiku", False): [1, 1, 4, 1],
            ("team/ü", "haiku", True): [1, 1, 50, 0],
            ("other", "haiku", False): [1, 1, 4, 1],
        }
        bench.expect(total, wanted, "the journal")
        kinds = [
            (s.input_tokens, s.cached_input_tokens, s.cache_write_tokens, s.reasoning_tokens)
            for s in (one.spent for one in rows)
            if s.target == "haiku" and not s.estimated
        ]
        bench.expect(sorted(set(kinds)), [(0, 0, 5, 3)], "the journal keeps each kind of token")
        bench.expect(list(await bench.store.spending(since=0, until=900)), [], "the journal of another time")


async def journal_has_what_ended_leases_charged(make: MakeLedger) -> None:
    """As an estimate at no target, in the quarter of the reservation; the truth takes its place, whenever it comes."""
    async with on_bench(make) as bench:
        window = bench.window()
        await bench.commit(
            bench.reserve("dead", window, tokens=100, nano_usd=9, spans=2),
            bench.reserve("late", window, tokens=50, nano_usd=10**9, spans=2),
            bench.reserve("released", window, tokens=7),
            Release("released", "its machine is gone"),
        )
        await bench.pass_spans(3)
        ends = await bench.now() + 1
        bench.expect(await _sums(bench.store, ends), {"": (3, 157, 10**9 + 9)}, "the journal when leases have ended")
        await bench.expect_row(window.key, "what is spent", spent=157, estimated=157, usd=(0, 10**9 + 9))
        truth = Spent(target="sonnet", input_tokens=20, nano_usd=5)
        await bench.one(Settle(hold_id="late", charged=Amount(20, 5), spent=(truth,)))
        wanted = {"": (2, 107, 9), "sonnet": (1, 20, 5)}
        bench.expect(await _sums(bench.store, ends), wanted, "the journal when the truth has come")
        await bench.one(bench.renew("dead", spans=9))
        wanted = {"": (1, 7, 0), "sonnet": (1, 20, 5)}
        bench.expect(await _sums(bench.store, ends), wanted, "the journal when a hold lives again")


async def _sums(store: LedgerStore, until: float) -> dict[str, tuple[int, int, int]]:
    """By target: calls, tokens, nano-USD."""
    sums: dict[str, tuple[int, int, int]] = {}
    for one in await store.spending(since=0, until=until):
        calls, tokens, nano_usd = sums.get(one.spent.target, (0, 0, 0))
        spent = one.spent
        sums[spent.target] = (
            calls + one.calls,
            tokens + spent.input_tokens + spent.output_tokens,
            nano_usd + spent.nano_usd,
        )
    return sums


async def windows_that_are_unknown_are_left_out(make: MakeLedger) -> None:
    """All of them are listed where none are named; what was set by hand is, too, and what is over is not."""
    async with on_bench(make) as bench:
        one, short = bench.window("day:UTC:one"), bench.window("day:UTC:short", spans=2)
        by_hand = bench.window("day:UTC:by hand", spans=2)
        await bench.commit(
            bench.reserve("a", one, short, tokens=1), bench.change(by_hand, limit_tokens=5), bench.settle("b")
        )
        keys = {row.key for row in await bench.store.windows()}
        bench.expect(keys, {one.key, short.key, by_hand.key}, "all windows")
        rows = await bench.store.windows((one.key, "day:UTC:nobody"))
        bench.expect([(row.key, row.held) for row in rows], [(one.key, Amount(1))], "windows by their names")
        await bench.pass_spans(3)
        await bench.now()
        counted = {row.key for row in await bench.store.windows() if row.ends_at is not None}
        bench.expect(counted, {one.key}, "nothing is counted in windows that are over")
        bench.expect((await bench.row(by_hand.key)).limit_tokens, 5, "what was set by hand outlives its window")


async def any_name_is_a_name(make: MakeLedger) -> None:
    """Accounts and ids of any characters; none is taken for another."""
    async with on_bench(make) as bench:
        windows = {name: bench.window(f"day:UTC:{name}", tokens=10) for name in NAMES}
        steps = [bench.reserve(name, window, tokens=7, account=name) for name, window in windows.items()]
        bench.expect(await bench.commit(*steps), (Held(0, Amount(7)),) * len(NAMES), "any name")
        bench.expect({row.account for row in await bench.store.holds()}, set(NAMES), "accounts by their names")
        answers = await bench.commit(*[bench.settle(name, 5) for name in NAMES])
        bench.expect({type(answer) for answer in answers}, {Charged}, "ids by their names")
        for window in windows.values():
            await bench.expect_row(window.key, "windows by their names", spent=5)


async def others_see_the_same_ledger(make: MakeLedger) -> None:
    """Where a store is shared: holds of one count for the other, who may settle them; and it is there when reopened."""
    async with on_bench(make) as bench:
        if bench.at_hand.another is None:
            bench.expect(bench.store.shared, wanted=False, law="a store that is shared can be opened once more")
            return
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=60), "a hold")
        async with bench.at_hand.another() as other:
            answers = (
                await other.commit((bench.reserve("b", window, tokens=41), bench.reserve("c", window, tokens=40)))
            ).answers
            bench.expect([type(answer).__name__ for answer in answers], ["Lacking", "Held"], "the limit is one for all")
            await bench.one(bench.settle("c", 1))
            landed = await other.commit((bench.settle("a", 2), bench.settle("c", 40)))
            bench.expect(type(landed.answers[0]), Charged, "a hold of another is settled")
            bench.expect(landed.answers[1], Known(), "what another settled is settled")
            bench.expect(landed.now >= bench.began, wanted=True, law="the time is the same for all")
        await bench.expect_row(window.key, "one ledger", spent=3)
        async with bench.at_hand.another() as again:
            (seen,) = await again.windows((window.key,))
            bench.expect((seen.held, seen.spent), (NOTHING, Amount(3)), "what was kept")


async def cancelled_commit_leaves_the_store_usable(make: MakeLedger) -> None:
    """All of the batch was carried out or nothing; sent again, it is carried out once."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=1_000)
        for number in range(12):
            batch = [bench.reserve(f"{number}{half}", window, tokens=1) for half in "ab"]
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(bench.store.commit, batch)
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            with trio.fail_after(30):
                held = (await bench.row(window.key)).held.tokens
                bench.expect(
                    held in {2 * number, 2 * number + 2}, wanted=True, law="all of a cancelled batch or nothing"
                )
                await bench.commit(*batch)
                await bench.expect_row(window.key, "a cancelled batch that was sent again", held=2 * number + 2)


def row(at: float, action: Any, window: str, words: tuple[str, str], reason: str) -> HistoryRow:
    """One row of the history of the account `team`."""
    before, after = words
    return HistoryRow(at=at, action=action, account="team", window=window, before=before, after=after, reason=reason)
