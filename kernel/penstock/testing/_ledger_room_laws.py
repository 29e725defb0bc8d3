"""Laws of ledger stores about room: what fits, what does not, who is served, and how exact the figures are."""

from __future__ import annotations

from random import Random

import attrs

from penstock.policy.holds import NOTHING, Amount, Line
from penstock.policy.ledger_steps import Answer, Charged, Held, Lack, Lacking, Settle, Step, WindowUse
from penstock.testing._ledger_bench import Bench, MakeLedger, on_bench

__all__ = [
    "dearest_line_counts_in_each_unit",
    "large_batches_are_one_thing",
    "largest_output_that_fits_is_held",
    "limit_is_never_exceeded",
    "nothing_is_held_while_more_is_spent_than_there_is",
    "one_that_waits_keeps_the_room_it_lacks",
    "one_without_hope_keeps_no_room",
    "refusal_leaves_its_neighbours_alone",
    "refusal_says_what_is_missing_and_until_when",
    "reserve_holds_in_every_window_or_in_none",
    "target_never_gives_more_than_its_most",
]

USD = 10**9
"""Nano-USD."""


async def reserve_holds_in_every_window_or_in_none(make: MakeLedger) -> None:
    """All or nothing, whichever window of the path has no room, and in whichever unit."""
    async with on_bench(make) as bench:
        roomy, tight = bench.window("day:UTC:", tokens=100), bench.window("day:UTC:team", tokens=30)
        poor = bench.window("hour:UTC:team", nano_usd=5)
        law = "all windows or none"
        await bench.expect_held(bench.reserve("a", roomy, tight, poor, tokens=20, nano_usd=3), law)
        for order in ((roomy, tight, poor), (tight, poor, roomy), (poor, roomy, tight)):
            await bench.expect_lacking(bench.reserve("b", *order, tokens=11, nano_usd=1), law)
            await bench.expect_lacking(bench.reserve("c", *order, tokens=1, nano_usd=3), law)
        await bench.expect_row("day:UTC:", law, held=20, usd=(3, 0))
        await bench.expect_row("day:UTC:team", law, held=20, usd=(3, 0))
        await bench.expect_row("hour:UTC:team", law, held=20, usd=(3, 0))
        await bench.expect_held(bench.reserve("d", roomy, tight, poor, tokens=10, nano_usd=2), law)


async def refusal_leaves_its_neighbours_alone(make: MakeLedger) -> None:
    """In a batch each step is judged for itself: one that does not fit refuses nobody else."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        answers = await bench.commit(
            bench.reserve("a", window, tokens=60),
            bench.reserve("large", window, tokens=50),
            bench.reserve("b", window, tokens=40),
            bench.reserve("none left", window, tokens=1),
            bench.settle("a", 10),
            bench.reserve("c", window, tokens=50),
        )
        kinds = [type(answer).__name__ for answer in answers]
        bench.expect(kinds, ["Held", "Lacking", "Held", "Lacking", "Charged", "Held"], "one refusal refuses one")
        await bench.expect_row(window.key, "one refusal refuses one", held=90, spent=10)


async def one_that_waits_keeps_the_room_it_lacks(make: MakeLedger) -> None:
    """One that waits for what others hold is not overtaken within its batch, in the windows that it lacks room in."""
    async with on_bench(make) as bench:
        tight, other = bench.window("day:UTC:team", tokens=100), bench.window("day:UTC:other", tokens=100)
        await bench.expect_held(bench.reserve("a", tight, tokens=60), "waiting")
        answers = await bench.commit(
            bench.reserve("large", other, tight, tokens=50, waits=True),
            bench.reserve("small", tight, tokens=1),
            bench.reserve("both", other, tight, tokens=1),
            bench.reserve("elsewhere", other, tokens=1),
        )
        waits, small, both, elsewhere = answers
        assert_kept(bench, waits, lacks=(tight.key,), behind=())
        assert_kept(bench, small, lacks=(), behind=(tight.key,))
        assert_kept(bench, both, lacks=(), behind=(tight.key,))
        bench.expect(type(elsewhere), Held, "a window in which the one that waits has room is free for others")
        await bench.expect_held(bench.reserve("later", tight, tokens=1), "room is kept within one batch only")


async def one_without_hope_keeps_no_room(make: MakeLedger) -> None:
    """Who would not fit with every hold released does not wait, and neither does one that was not asked to."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=60), "waiting")
        answers = await bench.commit(
            bench.reserve("too large", window, tokens=101, waits=True),
            bench.reserve("does not wait", window, tokens=50),
            bench.reserve("small", window, tokens=40),
        )
        kinds = [type(answer).__name__ for answer in answers]
        bench.expect(kinds, ["Lacking", "Lacking", "Held"], "room is kept only for who waits and can be served")


async def refusal_says_what_is_missing_and_until_when(make: MakeLedger) -> None:
    """What is missing now, what would be with every hold released, when it refills, and what comes free first."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100, nano_usd=50, spans=100)
        await bench.commit(bench.reserve("s", window, tokens=40, nano_usd=20), bench.settle("s", 40, nano_usd=20))
        await bench.expect_held(bench.reserve("held", window, tokens=50, nano_usd=20), "what is missing")
        soft = await bench.expect_lacking(bench.reserve("soft", window, tokens=30, nano_usd=30), "what is missing")
        lack = Lack(window.key, 100, 50, Amount(20, 20), None, None, window.end, Amount(20, 20))
        bench.expect(soft, Lacking((lack,), (), shortest_fits=False), "what waiting can bring")
        hard = await bench.expect_lacking(bench.reserve("hard", window, tokens=70, nano_usd=10), "what is missing")
        lack = Lack(window.key, 100, 50, Amount(60, 0), Amount(10, 0), window.end, window.end, Amount(10, 0))
        bench.expect(hard, Lacking((lack,), (), shortest_fits=False), "what the end of the window brings")
        bench.expect((soft.hopeless, hard.hopeless), (False, True), "hope")
        never = await bench.expect_lacking(bench.reserve("never", window, tokens=101), "what is missing")
        bench.expect(never.lacks[0].refills_at, None, "what is larger than the limit never fits")
        lines = (Line(5, 0, 0, 1_000),)
        short = await bench.expect_lacking(
            bench.reserve_lines("e", window, lines=lines, outputs=(8, 9)), "the shortest"
        )
        bench.expect(short.shortest_fits, True, "an answer of one token would fit")


async def nothing_is_held_while_more_is_spent_than_there_is(make: MakeLedger) -> None:
    """A charge above its hold is booked in full; then not even nothing is held, until there is room again."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=100)
        await bench.expect_held(bench.reserve("a", window, tokens=50), "overrun")
        await bench.expect_held(bench.reserve("b", window, tokens=50), "overrun")
        charged = await bench.one(bench.settle("a", 90))
        bench.expect(isinstance(charged, Charged) and charged.held, Amount(50), "what a charge was held by")
        await bench.expect_row(window.key, "an overrun is booked in full", held=50, spent=90)
        law = "nothing is held where free is below zero"
        await bench.expect_lacking(bench.reserve("none", window), law)
        await bench.expect_lacking(bench.top_up("b", 1, window, tokens=0), law)
        await bench.one(bench.settle("b", 10))
        await bench.expect_held(bench.reserve("c", window), "what fits exactly, fits")


async def largest_output_that_fits_is_held(make: MakeLedger) -> None:
    """Exactly: one token more would not fit. Prices up to 1,000 USD per million, limits up to ten million USD."""
    random = Random(4)  # noqa: S311 - figures of a test
    async with on_bench(make) as bench:
        for number in range(120):
            rate = random.choice([1, 999_999, 10**6 + 1, 15 * USD, 333_333_333_333, 999_999_999_999, 1_000 * USD])
            limit = random.choice([0, 1, 10**6, USD, 10**13 + 7, 9_007_199_254_740_993, 10**16 - 1, 10**16])
            spent = random.choice([0, limit // 3, limit - min(limit, 10)])
            given = random.randrange(limit - spent + 1) if random.random() < 0.5 else 0
            most = random.choice([0, 1, 4_096, 10**6, 10**9])
            window = bench.window(f"day:UTC:{number}", nano_usd=limit)
            await bench.commit(bench.reserve(f"s{number}", window), bench.settle(f"s{number}", nano_usd=spent))
            line = Line(7, given, rate, 10**9)
            held = await bench.expect_held(
                bench.reserve_lines(f"h{number}", window, lines=(line,), outputs=(0, most)), "the largest output"
            )
            left = limit - spent - given
            case = f"the largest output of at most {most} for {left} nano-USD at {rate} per million"
            wanted = min(most, left * 10**6 // rate)
            bench.expect(held.output_tokens, wanted, case)
            cost = given + -(-wanted * rate // 10**6)
            bench.expect(held.amount, Amount(7 + wanted, cost), f"{case}: what is held")
            row = await bench.row(window.key)
            bench.expect((row.held.nano_usd, row.spent.nano_usd), (cost, spent), f"{case}: what is counted")


async def target_never_gives_more_than_its_most(make: MakeLedger) -> None:
    """A line costs no more beyond the most that its target gives; what is allowed may be more all the same."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=1_000)
        lines = (Line(100, 0, 0, 50), Line(10, 0, 0, 400))
        step = bench.reserve_lines("a", window, lines=lines, outputs=(1, 10_000))
        held = await bench.expect_held(step, "all that the targets give fits", output=10_000)
        bench.expect(held.amount, Amount(410), "what is held is what the targets can give")
        step = bench.reserve_lines("b", window, lines=lines, outputs=(1, 10_000))
        held = await bench.expect_held(step, "all that the targets give fits", output=10_000)
        step = bench.reserve_lines("c", window, lines=lines, outputs=(1, 10_000))
        held = await bench.expect_held(step, "the most of one target does not fit", output=170)
        bench.expect(held.amount, Amount(180), "the dearest at that output")


async def dearest_line_counts_in_each_unit(make: MakeLedger) -> None:
    """Of several targets, the most tokens of any and the most money of any are held."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=10_000, nano_usd=10_000)
        lines = (Line(100, 7, 2_000_000, 1_000), Line(300, 1, 1_500_001, 1_000), Line(1, 90, 0, 10))
        held = await bench.expect_held(bench.reserve_lines("a", window, lines=lines, outputs=(5, 5)), "the dearest")
        bench.expect(held, Held(5, Amount(305, 90)), "the dearest of each unit")
        held = await bench.expect_held(bench.reserve_lines("b", window, lines=lines, outputs=(500, 500)), "the dearest")
        bench.expect(held, Held(500, Amount(800, 1_007)), "the dearest of each unit, rounded up")


async def large_batches_are_one_thing(make: MakeLedger) -> None:
    """Two thousand steps in one batch, each seeing what those before it did."""
    async with on_bench(make) as bench:
        window = bench.window(tokens=301)
        steps: list[Step] = []
        for number in range(1_000):
            steps.append(bench.reserve(f"h{number}", window, tokens=2))
            steps.append(bench.settle(f"h{number}", number % 2))
        answers = await bench.commit(*steps)
        # Every second pair spends one, and two more fit until 300 are spent.
        held = sum(isinstance(answer, Held) for answer in answers)
        bench.expect(held, 600, "a large batch is carried out step by step")
        await bench.expect_row(window.key, "a large batch", spent=300)


async def limit_is_never_exceeded(make: MakeLedger) -> None:
    """Random batches on three levels, counted by what was answered: never more than the limit, nothing lost."""
    random = Random(7)  # noqa: S311 - figures of a test
    async with on_bench(make) as bench:
        count = _Count()
        limits = {"": (900, 9 * USD), "team": (500, 5 * USD), "team/a": (200, 2 * USD), "team/b": (300, 4 * USD)}
        for key, (tokens, nano_usd) in limits.items():
            count.windows[key] = bench.window(f"day:UTC:{key}", tokens=tokens, nano_usd=nano_usd)
        for _ in range(60):
            steps = [count.random_step(bench, random) for _ in range(random.randrange(1, 12))]
            for step, answer in zip(steps, await bench.commit(*steps), strict=True):
                count.learn(step, answer)
            for key, (tokens, nano_usd) in limits.items():
                row = await bench.row(f"day:UTC:{key}")
                bench.expect((row.held, row.spent), count.of(key), f"what is counted in {key!r}")
                used = row.held + row.spent
                bench.expect(used.fits(Amount(tokens, nano_usd)), wanted=True, law=f"the limit of {key!r}: {used}")
        bench.expect(count.served > 20, wanted=True, law="some were served")


def assert_kept(bench: Bench, answer: Answer, *, lacks: tuple[str, ...], behind: tuple[str, ...]) -> None:
    """Room is lacking, or kept for one that came before."""
    said = None
    if isinstance(answer, Lacking):
        said = tuple(lack.key for lack in answer.lacks), answer.behind
    bench.expect(said, (lacks, behind), "what is lacking, and what is kept for others")


@attrs.define
class _Count:
    """What is held and spent, by the answers alone. Charges never exceed their holds."""

    windows: dict[str, WindowUse] = attrs.field(factory=dict[str, WindowUse])
    held: dict[str, tuple[str, Amount]] = attrs.field(factory=dict[str, tuple[str, Amount]])
    spent: dict[str, Amount] = attrs.field(factory=dict[str, Amount])
    served: int = 0
    asked: int = 0

    def random_step(self, bench: Bench, random: Random) -> Step:
        if self.held and random.random() < 0.45:
            hold_id = random.choice(sorted(self.held))
            held = self.held[hold_id][1]
            # Only every fifth charge is much: else all is spent after a few.
            share = random.choice([0, 0, 0, 10, 3])
            charged = Amount(held.tokens // share, held.nano_usd // share) if share else NOTHING
            return Settle(hold_id=hold_id, charged=charged)
        self.asked += 1
        account = random.choice(["", "team", "team/a", "team/b"])
        path = [self.windows[key] for key in ("", "team", account) if account.startswith(key)]
        line = Line(random.randrange(60), random.randrange(USD), random.randrange(20 * USD), 10_000)
        outputs = (random.randrange(5), random.randrange(5, 200))
        return bench.reserve_lines(
            f"h{self.asked}",
            *dict.fromkeys(path),
            lines=(line,),
            outputs=outputs,
            account=account,
            waits=bool(outputs[0]),
        )

    def learn(self, step: Step, answer: Answer) -> None:
        match step, answer:
            case Settle(), Charged():
                account, _ = self.held.pop(step.hold_id)
                self.spent[account] = self.spent.get(account, NOTHING) + step.charged
            case _, Held():
                self.served += 1
                self.held[step.hold_id] = step.account, answer.amount  # type: ignore[union-attr]
            case _:
                pass

    def of(self, key: str) -> tuple[Amount, Amount]:
        held = [amount for account, amount in self.held.values() if _is_below(account, key)]
        spent = [amount for account, amount in self.spent.items() if _is_below(account, key)]
        return sum(held, NOTHING), sum(spent, NOTHING)


def _is_below(account: str, key: str) -> bool:
    return not key or account == key or account.startswith(f"{key}/")
