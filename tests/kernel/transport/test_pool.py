"""The pool alone, without sockets or a loop: limits, order, and that no slot and no wake-up is ever lost."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock._transport.pool import Pool, PoolStatistics, Slot, Waiter

EXPIRY = 30.0


@attrs.define(eq=False)
class Plug:
    """A connection that only knows whether it works and whether it was closed."""

    works: bool = True
    closed: bool = False

    def is_usable(self) -> bool:
        assert not self.closed, "a closed connection is asked whether it can be used"
        return self.works

    def close(self) -> None:
        self.closed = True


def make_pool(limit: int) -> Pool[Plug]:
    return Pool(max_connections=limit, idle_expiry=EXPIRY)


def taken(pool: Pool[Plug], now: float = 0.0) -> Slot[Plug]:
    slot = pool.take(now)
    assert slot is not None
    return slot


def used(pool: Pool[Plug], now: float = 0.0) -> Plug:
    """A connection that was made, used and given back."""
    slot, plug = taken(pool, now), Plug()
    pool.fill(slot, plug)
    pool.give_back(slot, now, reusable=True)
    return plug


def test_the_connection_used_last_is_taken_first() -> None:
    pool = make_pool(2)
    first, second = taken(pool), taken(pool)
    pool.fill(first, early := Plug())
    pool.fill(second, late := Plug())
    pool.give_back(first, 1.0, reusable=True)
    pool.give_back(second, 2.0, reusable=True)
    assert taken(pool, 3.0).connection is late
    assert taken(pool, 3.0).connection is early


def test_a_connection_the_peer_closed_is_discarded_and_its_place_is_free() -> None:
    pool = make_pool(1)
    plug = used(pool)
    plug.works = False
    assert taken(pool).connection is None
    assert plug.closed


def test_a_connection_expires_after_being_idle() -> None:
    pool = make_pool(1)
    plug = used(pool, 0.0)
    assert taken(pool, EXPIRY - 0.1).connection is plug
    pool = make_pool(1)
    plug = used(pool, 0.0)
    assert taken(pool, EXPIRY).connection is None
    assert plug.closed


def test_what_is_given_back_goes_to_the_oldest_waiter() -> None:
    pool = make_pool(1)
    slot = taken(pool)
    pool.fill(slot, plug := Plug())
    woken: list[str] = []
    first = pool.wait(lambda: woken.append("first"))
    second = pool.wait(lambda: woken.append("second"))
    assert pool.take(0.0) is None
    pool.give_back(slot, 0.0, reusable=True)
    assert woken == ["first"]
    assert first.slot is not None
    assert first.slot.connection is plug
    pool.give_back(first.slot, 0.0, reusable=False)
    assert woken == ["first", "second"]
    assert second.slot is not None
    assert second.slot.connection is None
    assert plug.closed


def test_a_waiter_that_leaves_while_it_is_handed_a_connection_passes_it_on() -> None:
    pool = make_pool(1)
    slot = taken(pool)
    pool.fill(slot, plug := Plug())
    first, second = pool.wait(lambda: None), pool.wait(lambda: None)
    pool.give_back(slot, 0.0, reusable=True)
    pool.leave(first, 0.0)
    assert second.slot is not None
    assert second.slot.connection is plug
    pool.leave(second, 0.0)
    assert pool.statistics("o") == PoolStatistics("o", in_use=0, idle=1, waiting=0)


def test_a_dead_connection_is_not_handed_to_a_waiter() -> None:
    pool = make_pool(1)
    slot = taken(pool)
    pool.fill(slot, plug := Plug(works=False))
    waiter = pool.wait(lambda: None)
    pool.give_back(slot, 0.0, reusable=True)
    assert waiter.slot is not None
    assert waiter.slot.connection is None
    assert plug.closed


def test_giving_back_twice_does_not_take_it_from_the_next_holder() -> None:
    pool = make_pool(1)
    slot = taken(pool)
    pool.fill(slot, plug := Plug())
    pool.give_back(slot, 0.0, reusable=True)
    assert taken(pool).connection is plug
    pool.give_back(slot, 0.0, reusable=False)
    assert not plug.closed
    assert pool.take(0.0) is None


def test_closing_closes_all_and_wakes_all() -> None:
    pool = make_pool(2)
    idle = used(pool)
    busy, dialing = taken(pool), taken(pool)
    woken: list[int] = []
    pool.wait(lambda: woken.append(1))
    pool.close()
    assert busy.connection is idle
    assert idle.closed
    assert woken == [1]
    pool.fill(dialing, late := Plug())
    assert late.closed
    pool.give_back(dialing, 0.0, reusable=True)
    pool.give_back(busy, 0.0, reusable=True)
    assert pool.is_unused


@attrs.define(eq=False)
class Queued:
    """What the model knows of one who waits."""

    waiter: Waiter[Plug] | None = None
    woken: int = 0


class PoolMachine(RuleBasedStateMachine):
    """Its model: who holds which plug, who queues in which order, and which plugs lie idle, youngest last."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.plugs: list[Plug] = []
        self.holders: list[Slot[Plug]] = []
        self.queue: list[Queued] = []
        self.idle: list[tuple[Plug, float]] = []

    @initialize(limit=st.integers(1, 3))
    def make(self, limit: int) -> None:
        self.limit = limit
        self.pool = make_pool(limit)

    def expect_next(self) -> Plug | None:
        """The plug the next taker gets, by the model's own reckoning."""
        self.idle = [(plug, since) for plug, since in self.idle if self.now - since < EXPIRY]
        while self.idle:
            plug, _ = self.idle.pop()
            if plug.works:
                return plug
        return None

    def expect_handed(self, plug: Plug | None) -> None:
        """A place became free, with this plug in it: the oldest in the queue has it, or it lies idle."""
        if not self.queue:
            if plug is not None:
                self.idle.append((plug, self.now))
            return
        queued = self.queue.pop(0)
        assert queued.woken == 1
        assert queued.waiter is not None
        assert queued.waiter.slot is not None
        assert queued.waiter.slot.connection is (plug if plug is not None and plug.works else None)
        self.holders.append(queued.waiter.slot)

    @rule()
    def take(self) -> None:
        slot = self.pool.take(self.now)
        expected = self.expect_next()
        if len(self.holders) == self.limit:
            assert slot is None
            queued = Queued()

            def wake() -> None:
                queued.woken += 1

            queued.waiter = self.pool.wait(wake)
            self.queue.append(queued)
            return
        assert slot is not None
        assert slot.connection is expected
        self.holders.append(slot)

    @precondition(lambda self: any(slot.connection is None for slot in self.holders))
    @rule(works=st.booleans())
    def dial(self, *, works: bool) -> None:
        slot = next(slot for slot in self.holders if slot.connection is None)
        plug = Plug(works=works)
        self.plugs.append(plug)
        self.pool.fill(slot, plug)

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), reusable=st.booleans(), twice=st.booleans())
    def give_back(self, data: st.DataObject, *, reusable: bool, twice: bool) -> None:
        slot = data.draw(st.sampled_from(self.holders))
        self.holders.remove(slot)
        plug = slot.connection
        self.pool.give_back(slot, self.now, reusable=reusable)
        if not reusable and plug is not None:
            assert plug.closed
        self.expect_handed(plug if reusable else None)
        if twice:
            self.pool.give_back(slot, self.now, reusable=False)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def leave_the_queue(self, data: st.DataObject) -> None:
        queued = data.draw(st.sampled_from(self.queue))
        self.queue.remove(queued)
        assert queued.waiter is not None
        self.pool.leave(queued.waiter, self.now)
        assert queued.woken == 0

    @precondition(lambda self: self.queue and self.holders)
    @rule(data=st.data())
    def leave_while_handed(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.holders))
        plug = slot.connection
        first = self.queue[0]
        self.holders.remove(slot)
        self.pool.give_back(slot, self.now, reusable=True)
        self.expect_handed(plug)
        assert first.waiter is not None
        assert first.waiter.slot is not None
        self.holders.remove(first.waiter.slot)
        kept = first.waiter.slot.connection
        self.pool.leave(first.waiter, self.now)
        self.expect_handed(kept)

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def peer_closes_an_idle_one(self, data: st.DataObject) -> None:
        plug, _ = data.draw(st.sampled_from(self.idle))
        plug.works = False

    @rule(seconds=st.sampled_from([1.0, EXPIRY / 2, EXPIRY]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def forget_idle(self) -> None:
        self.pool.forget_idle()
        self.idle.clear()

    @invariant()
    def the_numbers_agree_and_the_limit_holds(self) -> None:
        if not hasattr(self, "pool"):
            return
        numbers = self.pool.statistics("o")
        assert numbers == PoolStatistics("o", in_use=len(self.holders), idle=len(self.idle), waiting=len(self.queue))
        assert numbers.open <= self.limit
        assert not (self.queue and numbers.open < self.limit), "someone waits beside a free place"

    @invariant()
    def only_what_is_held_or_idle_is_open(self) -> None:
        reachable = {id(slot.connection) for slot in self.holders} | {id(plug) for plug, _ in self.idle}
        assert all(plug.closed == (id(plug) not in reachable) for plug in self.plugs)

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.pool.close()
        assert all(queued.woken == 1 for queued in self.queue)
        assert all(plug.closed for plug in self.plugs)


TestPool = PoolMachine.TestCase
