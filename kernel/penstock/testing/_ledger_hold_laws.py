"""Laws of ledger stores about one hold: its id, its top-ups, its lease, and what takes its place."""

from __future__ import annotations

from penstock.policy.holds import Amount
from penstock.policy.ledger_steps import Changed, Charged, Held, Known, Release, Settle, Stale, Turn
from penstock.testing._ledger_bench import MakeLedger, on_bench

__all__ = [
    "batch_sent_again_is_answered_and_not_repeated",
    "charge_without_a_hold_counts_where_it_says_so",
    "ended_lease_is_charged_in_full_until_the_truth_comes",
    "holds_are_listed_oldest_first",
    "lapsed_hold_outlives_its_windows_and_is_forgotten",
    "limit_that_comes_back_finds_what_was_spent_without_it",
    "release_by_hand_is_charged_in_full",
    "release_by_hand_is_undone_by_nothing_but_the_truth",
    "renewed_lease_goes_on_and_an_ended_one_revives",
    "reserve_answers_what_an_id_holds_already",
    "settle_before_reserve_leaves_nothing_held",
    "settle_tells_what_it_did_to_each_window",
    "settle_that_nobody_listens_to_charges_the_same",
    "settled_id_is_known_for_the_longest_lease",
    "top_up_revives_a_hold_whose_lease_has_ended",
    "top_ups_count_once_and_all_or_nothing",
]


async def reserve_answers_what_an_id_holds_already(make: MakeLedger) -> None:
    """An id that was reserved is answered by what it holds, whatever is asked this time."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=60), "a hold")
        held = await bench.expect_held(bench.reserve("a", window, tokens=90), "an id that holds")
        bench.expect(held.amount, Amount(60), "an id holds what it held first")
        await bench.expect_row(window.key, "an id holds once", held=60)


async def batch_sent_again_is_answered_and_not_repeated(make: MakeLedger) -> None:
    """Every kind of step, sent once more: the same is counted as before, and no call is charged twice."""
    async with on_bench(make) as bench:
        window, new = bench.window(tokens=1_000), bench.real_window("day:Europe/Berlin:team", tokens=1_000)
        batch = (
            bench.reserve("a", window, tokens=100),
            bench.reserve("b", window, tokens=200),
            bench.top_up("a", 1, window, tokens=5),
            bench.settle("b", 150),
            bench.adopt(new),
            bench.reserve("c", window, new, tokens=30),
            bench.renew("a", "b", "c", spans=50),
            Release("c", "the process is gone"),
            bench.change(window, limit_tokens=900),
            bench.settle("never held", 7),
        )
        await bench.commit(*batch)
        rows = [await bench.row(window.key), await bench.row(new.key)]
        bench.expect((rows[0].held, rows[0].spent), (Amount(105), Amount(180)), "what is counted at first")
        bench.expect((rows[1].held, rows[1].spent), (Amount(105), Amount(180)), "what is adopted at first")
        answers = await bench.commit(*batch)
        bench.expect(answers[0], Held(0, Amount(105)), "a hold is answered")
        bench.expect(answers[1], Known(), "an id that was settled is known")
        bench.expect(answers[2], Held(0, Amount(105)), "a top-up is answered")
        bench.expect((answers[3], answers[4], answers[9]), (Known(), Known(), Known()), "nothing is done again")
        again = [await bench.row(window.key), await bench.row(new.key)]
        bench.expect(again, rows, "a batch that was sent again changes nothing")


async def settle_before_reserve_leaves_nothing_held(make: MakeLedger) -> None:
    """Steps of one call may arrive in the other order; so may its top-up."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        bench.expect(await bench.one(bench.settle("a", 5)), Known(), "a settle of an unknown id")
        bench.expect(await bench.one(bench.reserve("a", window, tokens=5)), Known(), "a reserve of a settled id")
        bench.expect(await bench.one(bench.top_up("a", 1, window, tokens=5)), Known(), "a top-up of a settled id")
        await bench.expect_row(window.key, "a settled id holds nothing")
        answers = await bench.commit(bench.settle("b"), bench.reserve("b", window, tokens=5))
        bench.expect(answers, (Known(), Known()), "the other order within a batch")
        bench.expect(len(await bench.store.holds()), 0, "nothing is held")


async def settled_id_is_known_for_the_longest_lease(make: MakeLedger) -> None:
    """As long as a reserve with the longest lease may be on its way, and whoever settled first."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=5, spans=6), "a hold")
        await bench.commit(bench.settle("a", 5), bench.settle("b"))
        await bench.pass_spans(5)
        answers = await bench.commit(bench.reserve("a", window, tokens=5), bench.reserve("b", window, tokens=5))
        bench.expect(answers, (Known(), Known()), "ids that were settled less than the longest lease ago")


async def charge_without_a_hold_counts_where_it_says_so(make: MakeLedger) -> None:
    """A settle of an unknown id that names windows is charged in them, once: the store was away for its reserve."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        step = Settle(hold_id="a", charged=Amount(120), account="team", windows=(window,), estimated=True)
        turn = Turn(window.key, Amount(), Amount(120), window.end)
        bench.expect(await bench.one(step), Charged(Amount(), (turn,)), "a charge without a hold")
        bench.expect(await bench.one(step), Known(), "the same charge once more")
        await bench.expect_row(window.key, "a charge without a hold", spent=120, estimated=120)
        await bench.expect_lacking(bench.reserve("b", window, tokens=1), "what is spent is spent")


async def limit_that_comes_back_finds_what_was_spent_without_it(make: MakeLedger) -> None:
    """A window goes on counting that steps name without a limit: holds, and charges of calls that held nothing."""
    async with on_bench(make) as bench:
        limited, free = bench.window(tokens=1_000), bench.window()
        await bench.commit(bench.reserve("a", limited, tokens=300), bench.settle("a", 300))
        await bench.expect_held(bench.reserve("b", free, tokens=5_000), "a window without a limit")
        await bench.one(bench.settle("b", 400))
        await bench.one(Settle(hold_id="c", charged=Amount(200), account="team", windows=(free,)))
        law = "a limit that comes back"
        await bench.expect_row(limited.key, law, spent=900)
        await bench.expect_lacking(bench.reserve("d", limited, tokens=101), law)
        await bench.expect_held(bench.reserve("e", limited, tokens=100), law)


async def settle_tells_what_it_did_to_each_window(make: MakeLedger) -> None:
    """Before and after, in each window that is not over, and what the hold was."""
    async with on_bench(make) as bench:
        day, hour = bench.window("day:UTC:team"), bench.window("hour:UTC:team", spans=2)
        await bench.commit(bench.reserve("a", day, hour, tokens=9, nano_usd=9), bench.reserve("b", day, hour, tokens=8))
        turns = (Turn(day.key, Amount(), Amount(4, 3), day.end), Turn(hour.key, Amount(), Amount(4, 3), hour.end))
        law = "a settle tells of its windows"
        bench.expect(await bench.one(bench.settle("a", 4, nano_usd=3)), Charged(Amount(9, 9), turns), law)
        await bench.pass_spans(3)
        turn = Turn(day.key, Amount(4, 3), Amount(12, 3), day.end)
        bench.expect(await bench.one(bench.settle("b", 8)), Charged(Amount(8), (turn,)), f"{law} that are not over")


async def settle_that_nobody_listens_to_charges_the_same(make: MakeLedger) -> None:
    """Without `turns` its answer names no window: so for a hold, for one whose lease has ended, and for none."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.commit(bench.reserve("a", window, tokens=30), bench.reserve("late", window, tokens=20, spans=1))
        await bench.pass_spans(2)
        answers = await bench.commit(
            Settle(hold_id="a", charged=Amount(9), turns=False),
            Settle(hold_id="late", charged=Amount(4), turns=False),
            Settle(hold_id="never held", charged=Amount(2), account="team", windows=(window,), turns=False),
            Settle(hold_id="a", charged=Amount(9), turns=False),
        )
        wanted = (Charged(Amount(30), ()), Charged(Amount(20), ()), Charged(Amount(), ()), Known())
        bench.expect(answers, wanted, "a settle that nobody listens to")
        await bench.expect_row(window.key, "a settle that nobody listens to", spent=15)


async def top_ups_count_once_and_all_or_nothing(make: MakeLedger) -> None:
    """By their number; what does not fit leaves the hold as it was, and may be asked again."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        law = "a top-up"
        await bench.expect_held(bench.reserve("a", window, tokens=50), law)
        bench.expect(await bench.one(bench.top_up("a", 1, window, tokens=20)), Held(0, Amount(70)), law)
        bench.expect(await bench.one(bench.top_up("a", 1, window, tokens=20)), Held(0, Amount(70)), f"{law} again")
        await bench.expect_lacking(bench.top_up("a", 2, window, tokens=31), f"{law} for which there is no room")
        await bench.expect_row(window.key, f"{law} that was refused", held=70)
        bench.expect(await bench.one(bench.top_up("a", 2, window, tokens=30)), Held(0, Amount(100)), f"{law} that fits")
        bench.expect(await bench.one(bench.top_up("x", 1, window, tokens=1)), Known(), f"{law} of an unknown id")
        bench.expect(await bench.one(bench.settle("a", 65)), charged(window.key, 100, 0, 65, window.end), "its settle")
        await bench.expect_row(window.key, "a settle takes the whole hold", spent=65)
        bench.expect(await bench.one(bench.top_up("a", 3, window, tokens=1)), Known(), f"{law} of a settled id")


async def ended_lease_is_charged_in_full_until_the_truth_comes(make: MakeLedger) -> None:
    """Nobody knows what became of the call: its hold is charged as an estimate, and a late settle replaces that."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.commit(
            bench.reserve("a", window, tokens=60, spans=4),
            bench.reserve("b", window, tokens=10, spans=4),
            bench.reserve("lives", window, tokens=5),
        )
        await bench.expect_row(window.key, "before leases end", held=75)
        await bench.pass_spans(5)
        # It is charged by the next step of anyone, or before.
        await bench.expect_lacking(bench.reserve("c", window, tokens=26), "an ended lease frees nothing")
        await bench.expect_row(window.key, "an ended lease", held=5, spent=70, estimated=70)
        lapsed = [(row.hold_id, row.lapsed) for row in await bench.store.holds()]
        bench.expect(sorted(lapsed), [("a", True), ("b", True), ("lives", False)], "what has lapsed")
        truth = charged(window.key, 60, 10, 22, window.end)
        bench.expect(await bench.one(bench.settle("a", 12)), truth, "the truth takes the place of the estimate")
        await bench.expect_row(window.key, "the truth has come", held=5, spent=22, estimated=10)
        await bench.one(bench.settle("b", 11, estimated=True))
        await bench.expect_row(window.key, "a guess has come", held=5, spent=23, estimated=11)


async def renewed_lease_goes_on_and_an_ended_one_revives(make: MakeLedger) -> None:
    """From the moment of the renewal on; holds that nobody knows are passed over."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.commit(
            bench.reserve("a", window, tokens=60, spans=4), bench.reserve("b", window, tokens=30, spans=4)
        )
        await bench.pass_spans(2)
        bench.expect(await bench.one(bench.renew("a", "unknown", spans=6)), Known(), "a renewal")
        await bench.pass_spans(3)
        await bench.now()
        await bench.expect_row(window.key, "a lease that was renewed", held=60, spent=30, estimated=30)
        await bench.one(bench.renew("b", spans=50))
        await bench.expect_row(window.key, "a lease that had ended", held=90)
        await bench.pass_spans(4)
        await bench.now()
        await bench.expect_row(window.key, "leases end by the last renewal", held=30, spent=60, estimated=60)
        bench.expect(type(await bench.one(bench.settle("b", 1))), Charged, "a hold that was revived is settled")
        await bench.expect_row(window.key, "a hold that was revived", spent=61, estimated=60)


async def top_up_revives_a_hold_whose_lease_has_ended(make: MakeLedger) -> None:
    """The call lives: what it held is held again, with what it asks for now."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=60, spans=2), "a hold")
        await bench.pass_spans(3)
        await bench.now()
        await bench.expect_row(window.key, "an ended lease", spent=60, estimated=60)
        await bench.expect_lacking(bench.top_up("a", 1, window, tokens=41), "a top-up without room")
        answers = await bench.commit(bench.top_up("a", 1, window, tokens=40), bench.renew("a", spans=50))
        bench.expect(answers, (Held(0, Amount(100)), Known()), "a top-up after the lease")
        await bench.expect_row(window.key, "a hold that lives again", held=100)


async def release_by_hand_is_charged_in_full(make: MakeLedger) -> None:
    """As if its lease had ended, and in words; the truth may still come. What nobody holds is not released."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=60, nano_usd=1_500_000_000), "a hold")
        bench.expect(await bench.one(Release("b", "no reason")), Known(), "a release of what is unknown")
        changed = await bench.one(Release("a", "its process is gone"))
        words = Changed("1.5 USD and 60 tokens held", "1.5 USD and 60 tokens charged")
        bench.expect(changed, words, "a release in words")
        usd = (0, 1_500_000_000)
        await bench.expect_row(window.key, "what was released", spent=60, estimated=60, usd=usd)
        (row,) = await bench.store.holds()
        bench.expect((row.hold_id, row.lapsed), ("a", True), "what was released is still to be settled")
        await bench.one(bench.settle("a", 3, nano_usd=4))
        await bench.expect_row(window.key, "the truth of what was released", spent=3, usd=(0, 4))
        bench.expect(await bench.one(Release("a", "again")), Known(), "a release of what is settled")


async def release_by_hand_is_undone_by_nothing_but_the_truth(make: MakeLedger) -> None:
    """The process of its call lives after all, and renews: what was released stays charged, with what it asks for yet.

    So does one whose lease had ended when it was released. Others, renewed in the same step, are held.
    """
    async with on_bench(make) as bench:
        window = bench.window(tokens=200)
        await bench.commit(
            bench.reserve("a", window, tokens=60, spans=50),
            bench.reserve("late", window, tokens=5, spans=1),
            bench.reserve("lives", window, tokens=7, spans=50),
        )
        await bench.pass_spans(2)
        await bench.commit(Release("a", "by hand"), Release("late", "by hand"))
        law = "a renewal of what was released"
        bench.expect(await bench.one(bench.renew("a", "late", "lives", spans=100)), Known(), law)
        await bench.expect_row(window.key, law, held=7, spent=65, estimated=65)
        if bench.at_hand.another is not None:
            async with bench.at_hand.another() as other:
                await other.commit((bench.renew("a", "late", spans=100),))
            await bench.expect_row(window.key, f"{law}, by another process", held=7, spent=65, estimated=65)
        law = "a top-up of what was released"
        bench.expect(await bench.one(bench.top_up("a", 1, window, tokens=20)), Held(0, Amount(80)), law)
        await bench.expect_row(window.key, law, held=7, spent=85, estimated=85)
        await bench.expect_lacking(bench.top_up("a", 2, window, tokens=109), f"{law}, without room")
        bench.expect(await bench.one(bench.reserve("a", window, tokens=1)), Held(0, Amount(80)), "its reserve again")
        await bench.one(bench.renew("a", spans=100))
        await bench.expect_row(window.key, f"{law}, renewed", held=7, spent=85, estimated=85)
        lapsed = sorted((row.hold_id, row.lapsed) for row in await bench.store.holds())
        bench.expect(lapsed, [("a", True), ("late", True), ("lives", False)], "what has lapsed")
        await bench.commit(bench.settle("a", 30), bench.settle("late", 1))
        await bench.expect_row(window.key, "the truth of what was released", held=7, spent=31)


async def lapsed_hold_outlives_its_windows_and_is_forgotten(make: MakeLedger) -> None:
    """Once nothing of it counts any more, nobody keeps it; a settle is then one of an unknown id."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100, spans=5)
        await bench.commit(
            bench.reserve("a", window, tokens=60, spans=2), bench.reserve("b", window, tokens=20, spans=50)
        )
        await bench.pass_spans(3)
        await bench.now()
        await bench.expect_row(window.key, "an ended lease", held=20, spent=60, estimated=60)
        await bench.pass_spans(3)
        await bench.now()
        held = [row.hold_id for row in await bench.store.holds()]
        bench.expect(held, ["b"], "what is kept when the windows of a hold are over: the hold of a call that lives")
        bench.expect(await bench.one(bench.settle("a", 1)), Known(), "a settle of what was forgotten")
        bench.expect(await bench.one(bench.settle("b", 1)), Charged(Amount(20), ()), "a settle after all windows")
        bench.expect(type(await bench.one(bench.reserve("c", window))), Stale, "the window is over")


async def holds_are_listed_oldest_first(make: MakeLedger) -> None:
    """With all that is known of them."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=1_000)
        await bench.one(bench.reserve("z", window, tokens=6, nano_usd=2, account="team/z", spans=100))
        await bench.pass_spans(1)
        await bench.one(bench.reserve("a", window, tokens=7, account="team/a", spans=200))
        await bench.one(bench.top_up("a", 1, window, tokens=2))
        first, second = await bench.store.holds()
        seen = [(row.hold_id, row.account, row.amount, row.lapsed) for row in (first, second)]
        wanted = [("z", "team/z", Amount(6, 2), False), ("a", "team/a", Amount(9), False)]
        bench.expect(seen, wanted, "what is held")
        bench.expect(first.reserved_at < second.reserved_at, wanted=True, law="when it was reserved")
        leases = [round((row.lease_ends - row.reserved_at) / bench.span, 6) for row in (first, second)]
        bench.expect(leases, [100, 200], "how long its lease is")


def charged(key: str, held: int, before: int, after: int, end: float) -> Charged:
    """A charge of tokens in one window."""
    return Charged(Amount(held), (Turn(key, Amount(before), Amount(after), end),))
