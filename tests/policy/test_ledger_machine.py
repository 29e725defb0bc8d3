"""Several processes on one ledger: batches under way, answers lost, batches that come late, processes killed.

Each step is checked against a ledger kept by hand (`ledger_truth`): every answer, every window, what each process tells
its calls, and that no limit is exceeded but by what was charged beyond a hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_world import ACCOUNTS, Call, Process, World
from soak import SOAK

from penstock.policy.holds import Line

RUNS = 100_000 if SOAK else 300
"""Interleavings from a seed, beside those that Hypothesis makes. Ordinary runs make fewer."""
STEPS = 40

SKEWS = (0.0, 0.0, -4.0, 4.0)
SECONDS = (0.0, 0.5, 1.0, 3.0, 7.0, 19.0, 30.0, 61.0, 90.0)
WAITS = (None, 3.0, 20.0, 200.0)
SHARES = (0.0, 0.3, 1.0, 1.0, 1.0)
INPUTS = (0, 5, 20, 40, 60)
RATES = (0, 333_333, 1_000_000, 2_500_000)
FATES = ("never", "late", "carried out", "twice")

seconds = st.sampled_from(SECONDS)
lines = st.builds(
    Line,
    input_tokens=st.sampled_from(INPUTS),
    input_nano_usd=st.sampled_from(INPUTS),
    output_nano_per_million=st.sampled_from(RATES),
    max_output=st.integers(0, 20),
)


pairs = st.tuples(st.integers(0, 60), st.integers(0, 60))


class LedgerMachine(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize(tokens=st.sampled_from([100, 150, 10_000]), nano_usd=st.sampled_from([100, 10_000]), data=st.data())
    def begin(self, tokens: int, nano_usd: int, data: st.DataObject) -> None:
        skews = data.draw(st.lists(st.sampled_from(SKEWS), min_size=2, max_size=3))
        self.world = World(tokens=tokens, nano_usd=nano_usd, skews=skews)

    def some(self, data: st.DataObject, *, flying: bool | None = None) -> Process | None:
        fitting = [each for each in self.world.processes if flying is None or (each.flight is not None) is flying]
        return data.draw(st.sampled_from(fitting)) if fitting else None

    @rule(step=seconds)
    def time_passes(self, step: float) -> None:
        self.world.pass_time(step)

    @rule(
        data=st.data(),
        account=st.sampled_from(ACCOUNTS),
        costs=st.lists(lines, min_size=1, max_size=2),
        outputs=st.tuples(st.integers(0, 10), st.integers(10, 20)),
        wait=st.sampled_from(WAITS),
        likely=st.lists(lines, max_size=2),
    )
    def a_call_comes(
        self,
        data: st.DataObject,
        account: str,
        costs: list[Line],
        outputs: tuple[int, int],
        *,
        wait: float | None,
        likely: list[Line],
    ) -> None:
        process = self.some(data)
        assert process is not None
        self.world.ask(process, account, tuple(costs), outputs, wait, likely=tuple(likely))

    @rule(data=st.data(), share=st.sampled_from(SHARES))
    def a_call_ends(self, data: st.DataObject, share: float) -> None:
        process = self.some(data)
        assert process is not None
        if process.running:
            call = data.draw(st.sampled_from(list(process.running.values())))
            self.world.settle(process, call, part_of(call, share))

    @rule(data=st.data())
    def a_call_leaves_the_queue(self, data: st.DataObject) -> None:
        process = self.some(data)
        assert process is not None
        if process.waiting:
            self.world.settle(process, data.draw(st.sampled_from(list(process.waiting.values()))), (0, 0))

    @rule(data=st.data(), more=st.tuples(st.integers(1, 60), st.integers(0, 60)))
    def a_call_bills_beyond_its_hold(self, data: st.DataObject, more: tuple[int, int]) -> None:
        process = self.some(data)
        assert process is not None
        if process.running:
            call = data.draw(st.sampled_from(list(process.running.values())))
            held = call.held or (0, 0)
            self.world.settle(process, call, (held[0] + more[0], held[1] + more[1]))

    @rule(data=st.data(), more=pairs, likely=st.none() | pairs)
    def a_call_tops_up(self, data: st.DataObject, more: tuple[int, int], likely: tuple[int, int] | None) -> None:
        process = self.some(data, flying=False)
        if process is not None and process.running:
            self.world.top_up(process, data.draw(st.sampled_from(list(process.running.values()))), more, likely)

    @rule(data=st.data())
    def a_batch_is_sent(self, data: st.DataObject) -> None:
        process = self.some(data, flying=False)
        if process is not None:
            self.world.send(process)

    @rule(data=st.data())
    def an_answer_comes(self, data: st.DataObject) -> None:
        process = self.some(data, flying=True)
        if process is not None:
            self.world.land(process)

    @rule(data=st.data())
    def a_batch_is_sent_and_answered(self, data: st.DataObject) -> None:
        process = self.some(data, flying=False)
        if process is not None:
            self.world.send(process)
            self.world.land(process)

    @rule(data=st.data(), fate=st.sampled_from(FATES), allow=st.booleans())
    def no_answer_comes(self, data: st.DataObject, fate: str, allow: bool) -> None:  # noqa: FBT001  # drawn
        process = self.some(data, flying=True)
        if process is not None:
            self.world.lose(process, fate, allow=allow)

    @rule(data=st.data())
    def the_store_is_known_to_be_away(self, data: st.DataObject) -> None:
        process = self.some(data, flying=False)
        if process is not None:
            self.world.find_it_away(process)

    @precondition(lambda self: bool(self.world.limbo))
    @rule(data=st.data())
    def a_batch_comes_late(self, data: st.DataObject) -> None:
        self.world.come_late(data.draw(st.integers(0, len(self.world.limbo) - 1)))

    @rule(
        data=st.data(),
        fate=st.sampled_from(FATES),
        skew=st.sampled_from(SKEWS),
        rolling=st.booleans(),
        guessing=st.booleans(),
    )
    def a_process_is_killed(
        self,
        data: st.DataObject,
        fate: str,
        skew: float,
        rolling: bool,  # noqa: FBT001  # drawn
        guessing: bool,  # noqa: FBT001
    ) -> None:
        process = self.some(data)
        assert process is not None
        self.world.kill(process, skew=skew, rolling=rolling, guessing=guessing, fate=fate)

    @rule(data=st.data(), rolling=st.booleans(), guessing=st.booleans())
    def limits_are_reloaded(self, data: st.DataObject, rolling: bool, guessing: bool) -> None:  # noqa: FBT001  # drawn
        process = self.some(data)
        assert process is not None
        self.world.reload(process, rolling=rolling, guessing=guessing)

    @invariant()
    def what_is_free_is_the_limit_without_what_is_held_and_spent(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.end()


TestLedgers = LedgerMachine.TestCase


def part_of(call: Call, share: float) -> tuple[int, int]:
    held = call.held or (0, 0)
    return int(held[0] * share), int(held[1] * share)


def random_line(dice: random.Random) -> Line:
    return Line(dice.choice(INPUTS), dice.choice(INPUTS), dice.choice(RATES), dice.randint(0, 20))


def one_step(world: World, dice: random.Random) -> str:
    """Something that may happen; says what."""
    process = dice.choice(world.processes)
    flying = process.flight is not None
    running, waiting = list(process.running.values()), list(process.waiting.values())
    may: list[tuple[str, Callable[[], None]]] = [
        ("time", lambda: world.pass_time(dice.choice(SECONDS))),
        *[("ask", lambda: ask(world, process, dice))] * 3,
    ]
    if running:
        call = dice.choice(running)
        more = (dice.randint(0, 60), dice.randint(0, 60))
        may += [("settle", lambda: world.settle(process, call, part_of(call, dice.choice(SHARES))))] * 2
        if not flying:
            guess = dice.choice([None, (dice.randint(0, 60), dice.randint(0, 60))])
            may.append(("top up", lambda: world.top_up(process, call, more, guess)))
        if dice.random() < 0.1:
            may.append(("overrun", lambda: world.settle(process, call, (9 + more[0], 9 + more[1]))))
    if waiting:
        may.append(("leave", lambda: world.settle(process, dice.choice(waiting), (0, 0))))
    if flying:
        fate, allow = dice.choice(FATES), dice.random() < 0.2
        may += [("land", lambda: world.land(process))] * 4
        may.append((f"lose {fate}", lambda: world.lose(process, fate, allow=allow)))
    else:
        may += [("send", lambda: world.send(process))] * 4
        if dice.random() < 0.1:
            may.append(("away", lambda: world.find_it_away(process)))
    if world.limbo:
        may.append(("late", lambda: world.come_late(dice.randrange(len(world.limbo)))))
    if dice.random() < 0.2:
        kill = lambda: world.kill(  # noqa: E731
            process,
            skew=dice.choice(SKEWS),
            rolling=dice.random() < 0.5,
            guessing=dice.random() < 0.5,
            fate=dice.choice(FATES),
        )
        may.append(("kill", kill))
    if dice.random() < 0.1:
        reload = lambda: world.reload(process, rolling=dice.random() < 0.5, guessing=dice.random() < 0.5)  # noqa: E731
        may.append(("reload", reload))
    word, act = dice.choice(may)
    act()
    return word


def ask(world: World, process: Process, dice: random.Random) -> None:
    least = dice.randint(0, 10)
    costs = tuple(random_line(dice) for _ in range(dice.randint(1, 2)))
    outputs, guesses = (least, least + dice.randint(0, 10)), tuple(random_line(dice) for _ in range(dice.randint(0, 2)))
    world.ask(process, dice.choice(ACCOUNTS), costs, outputs, dice.choice(WAITS), likely=guesses)


@pytest.mark.slow
def test_whatever_is_lost_late_or_killed_no_limit_is_exceeded_and_nothing_served_is_forgotten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: Counter[str] = Counter()
    for seed in range(RUNS):
        dice = random.Random(seed)
        world = World(
            tokens=dice.choice([100, 150, 10_000]),
            nano_usd=dice.choice([100, 10_000]),
            skews=[dice.choice(SKEWS) for _ in range(3)],
        )
        try:
            for _ in range(STEPS):
                done[one_step(world, dice)] += 1
                world.check()
            world.end()
        except BaseException as error:
            error.add_note(f"seed {seed}, after {done.total()} steps")
            raise
    with capsys.disabled():
        print(f"\nledger: {RUNS} interleavings, {done.total()} steps: {dict(sorted(done.items()))}")
