"""Laws of ledger stores about windows that count holds by estimate, beside others that count them by the bound."""

from __future__ import annotations

from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import Held, Lack
from penstock.testing._ledger_bench import MakeLedger, on_bench

__all__ = [
    "adopted_window_counts_the_estimate_of_those_that_have_one",
    "each_window_is_judged_by_its_own_measure",
    "ended_lease_is_charged_as_it_was_held",
    "largest_output_fits_each_window_by_its_own_measure",
    "refusal_says_what_the_other_measure_would_have_said",
    "top_up_counts_as_its_hold_did",
    "whole_charge_is_booked_whatever_was_held",
]

BOUND, GUESS = (Line(100, 40, 0, 0),), (Line(30, 10, 0, 0),)


async def each_window_is_judged_by_its_own_measure(make: MakeLedger) -> None:
    """The dearest of `likely` is judged and held where a window counts by estimate, that of `lines` elsewhere."""
    law = "by its own measure"
    async with on_bench(make) as bench:
        proof = bench.window("day:UTC:", tokens=1_000)
        guessed = bench.window("day:UTC:team", tokens=90, by_estimate=True)
        lines = (*BOUND, Line(60, 50, 0, 0))
        ask = bench.reserve_lines("a", proof, guessed, lines=lines, likely=(*GUESS, Line(20, 15, 0, 0)))
        bench.expect(await bench.one(ask), Held(0, Amount(100, 50), Amount(30, 15)), law)
        bench.expect(await bench.one(ask), Held(0, Amount(100, 50), Amount(30, 15)), f"{law}, asked again")
        await bench.expect_row(proof.key, law, held=100, usd=(50, 0))
        await bench.expect_row(guessed.key, law, held=30, usd=(15, 0))
        held = await bench.expect_held(bench.reserve_lines("b", proof, lines=BOUND, likely=GUESS), law)
        bench.expect(held.likely, None, "nothing is told of an estimate that counts nowhere")
        await bench.expect_held(bench.reserve_lines("c", guessed, lines=GUESS), "without an estimate the lines count")
        await bench.expect_held(bench.reserve_lines("d", guessed, lines=BOUND, likely=GUESS), law)
        lacking = await bench.expect_lacking(
            bench.reserve_lines("e", proof, guessed, lines=BOUND, likely=(Line(1, 0, 0, 0),)), law
        )
        bench.expect([lack.key for lack in lacking.lacks], [guessed.key], law)
        small = bench.window("hour:UTC:", tokens=99)
        lacking = await bench.expect_lacking(bench.reserve_lines("f", small, lines=BOUND, likely=GUESS), law)
        bench.expect([lack.key for lack in lacking.lacks], [small.key], law)
        await bench.expect_row(small.key, law)


async def whole_charge_is_booked_whatever_was_held(make: MakeLedger) -> None:
    """A charge takes the place of the hold in every window, whole: above an estimate, too, and then no more is held."""
    law = "the whole charge"
    async with on_bench(make) as bench:
        proof = bench.window("day:UTC:", tokens=1_000)
        guessed = bench.window("day:UTC:team", tokens=60, by_estimate=True)
        await bench.commit(bench.reserve_lines("a", proof, guessed, lines=BOUND, likely=GUESS), bench.settle("a", 80))
        await bench.expect_row(proof.key, law, spent=80)
        await bench.expect_row(guessed.key, law, spent=80)
        lacking = await bench.expect_lacking(bench.reserve("b", guessed), "nothing is held beyond the limit")
        bench.expect(lacking.lacks[0].missing, Amount(20), law)
        await bench.commit(
            bench.reserve_lines("c", proof, bench.window("hour:UTC:team", by_estimate=True), lines=BOUND, likely=GUESS),
            bench.top_up("c", 1, proof, bench.window("hour:UTC:team", by_estimate=True), tokens=50, likely=5),
            bench.settle("c", 120),
        )
        await bench.expect_row(proof.key, law, spent=200)
        await bench.expect_row("hour:UTC:team", law, spent=120)


async def largest_output_fits_each_window_by_its_own_measure(make: MakeLedger) -> None:
    """The output that is granted is the largest at which every window has room, each for its own measure."""
    law = "the largest output"
    async with on_bench(make) as bench:
        lines, likely = (Line(100, 0, 0, 1_000),), (Line(20, 0, 0, 1_000),)
        for hold_id, proven, guess, output in (("a", 500, 320, 300), ("b", 350, 320, 250), ("c", 500, 600, 400)):
            windows = (
                bench.window(f"day:UTC:{hold_id}", tokens=proven),
                bench.window(f"hour:UTC:{hold_id}", tokens=guess, by_estimate=True),
            )
            ask = bench.reserve_lines(hold_id, *windows, lines=lines, likely=likely, outputs=(10, 900))
            wanted = Held(output, Amount(100 + output), Amount(20 + output))
            bench.expect(await bench.one(ask), wanted, law)


async def top_up_counts_as_its_hold_did(make: MakeLedger) -> None:
    """A window counts a hold in one way, whatever a later step thinks of it: its charge is booked there once."""
    law = "in one way"
    async with on_bench(make) as bench:
        one, other = bench.window("day:UTC:", tokens=1_000), bench.window("day:UTC:team", tokens=1_000)
        guessed = bench.window("day:UTC:team", tokens=1_000, by_estimate=True)
        await bench.commit(
            bench.reserve_lines("a", one, guessed, lines=BOUND, likely=GUESS),
            bench.reserve_lines("b", one, other, lines=BOUND, likely=GUESS),
        )
        topped = await bench.commit(
            bench.top_up("a", 1, one, other, tokens=50, likely=5),
            bench.top_up("b", 1, one, guessed, tokens=50, likely=5),
        )
        wanted = (Held(0, Amount(150, 40), Amount(35, 10)), Held(0, Amount(150, 40)))
        bench.expect(topped, wanted, law)
        await bench.expect_row(one.key, law, held=300, usd=(80, 0))
        await bench.expect_row(other.key, law, held=185, usd=(50, 0))
        await bench.expect_lacking(bench.top_up("a", 2, one, guessed, tokens=701, likely=1), "all windows or none")
        await bench.expect_lacking(bench.top_up("a", 2, one, guessed, tokens=1, likely=816), "all windows or none")
        await bench.expect_held(bench.top_up("a", 2, one, guessed, tokens=1, likely=815), law)
        await bench.commit(bench.settle("a", 200), bench.settle("b", 170))
        await bench.expect_row(one.key, law, spent=370)
        await bench.expect_row(other.key, law, spent=370)


async def ended_lease_is_charged_as_it_was_held(make: MakeLedger) -> None:
    """Each window is charged what it holds, until the truth comes."""
    law = "a lease that ended"
    async with on_bench(make) as bench:
        proof, guessed = bench.window("day:UTC:"), bench.window("day:UTC:team", by_estimate=True)
        await bench.commit(bench.reserve_lines("a", proof, guessed, lines=BOUND, likely=GUESS, spans=1))
        await bench.pass_spans(1.1)
        await bench.commit()
        await bench.expect_row(proof.key, law, spent=100, estimated=100, usd=(0, 40))
        await bench.expect_row(guessed.key, law, spent=30, estimated=30, usd=(0, 10))
        await bench.commit(bench.renew("a", spans=1_000))
        await bench.expect_row(guessed.key, "renewed", held=30, usd=(10, 0))
        await bench.commit(bench.settle("a", 70))
        await bench.expect_row(proof.key, "the truth", spent=70)
        await bench.expect_row(guessed.key, "the truth", spent=70)


async def adopted_window_counts_the_estimate_of_those_that_have_one(make: MakeLedger) -> None:
    """A window by estimate that is new counts holds by their estimate; those that have none, by the bound."""
    law = "a window that is new"
    async with on_bench(make) as bench:
        proof, guessed = bench.window("day:UTC:"), bench.window("day:UTC:team", by_estimate=True)
        new = bench.window("hour:UTC:team", by_estimate=True)
        await bench.commit(
            bench.reserve_lines("a", proof, guessed, lines=BOUND, likely=GUESS),
            bench.reserve_lines("b", proof, lines=BOUND, likely=GUESS),
            bench.adopt(new),
            bench.adopt(bench.window("minute:UTC:team")),
        )
        await bench.expect_row(new.key, law, held=130, usd=(50, 0))
        await bench.expect_row("minute:UTC:team", law, held=200, usd=(80, 0))
        await bench.commit(bench.settle("a", 90), bench.settle("b", 10))
        await bench.expect_row(new.key, law, spent=100)
        await bench.expect_row("minute:UTC:team", law, spent=100)


async def refusal_says_what_the_other_measure_would_have_said(make: MakeLedger) -> None:
    """Which measure was used, and how much would be missing by the other: of what is spent where that decides."""
    law = "the other measure"
    async with on_bench(make) as bench:
        proof = bench.window("day:UTC:team", tokens=120, spans=100)
        await bench.commit(
            bench.reserve("s", proof, tokens=10), bench.settle("s", 10), bench.reserve("h", proof, tokens=50)
        )
        end = proof.end
        for guess, missing in ((Line(20, 0, 0, 0), None), (Line(70, 0, 0, 0), Amount(10))):
            lacking = await bench.expect_lacking(bench.reserve_lines("a", proof, lines=BOUND, likely=(guess,)), law)
            bench.expect(lacking.lacks, (Lack(proof.key, 120, None, Amount(40), None, None, end, missing),), law)
        hopeless = bench.reserve_lines("b", proof, lines=(Line(115, 0, 0, 0),), likely=(Line(111, 0, 0, 0),))
        lacking = await bench.expect_lacking(hopeless, law)
        bench.expect(lacking.lacks, (Lack(proof.key, 120, None, Amount(55), Amount(5), end, end, Amount(1)),), law)
        guessed = bench.window("day:UTC:team", tokens=120, spans=100, by_estimate=True)
        asked = bench.reserve_lines("c", guessed, lines=BOUND, likely=(Line(70, 0, 0, 0),))
        lacking = await bench.expect_lacking(asked, law)
        wanted = Lack(guessed.key, 120, None, Amount(10), None, None, end, Amount(40), by_estimate=True)
        bench.expect(lacking.lacks, (wanted,), law)
        await bench.commit(bench.top_up("h", 1, proof, tokens=1))
        lacking = await bench.expect_lacking(bench.top_up("h", 2, proof, tokens=60, likely=5), law)
        bench.expect(lacking.lacks, (Lack(proof.key, 120, None, Amount(1), None, None, end, None),), law)
