"""A ledger's store whose answer to a batch is none is met as one that failed: the kernel lives on."""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec
import pytest
import trio
from keeping import Answered, Own, World, talk

from penstock.errors import LedgerUnavailableError
from penstock.policy.budget import Amount, Granted
from penstock.policy.ledger_steps import Charged, Held, Known, Lack, Lacking, Landed, Turn

AMOUNT = Amount(1)
WRONG: dict[str, Answered] = {
    "nothing": lambda _: None,
    "a number": lambda _: 5,
    "a list": lambda _: [],
    "too few": lambda landed: msgspec.structs.replace(landed, answers=landed.answers[1:]),
    "too many": lambda landed: msgspec.structs.replace(landed, answers=(*landed.answers, Known())),
    "no row": lambda landed: msgspec.structs.replace(landed, answers=None),
    "none of them": lambda landed: msgspec.structs.replace(landed, answers=(None,) * len(landed.answers)),
    "a moment in words": lambda landed: msgspec.structs.replace(landed, now="now"),
    "no moment": lambda landed: msgspec.structs.replace(landed, now=math.nan),
    "the end of time": lambda landed: msgspec.structs.replace(landed, now=math.inf),
}
HELD = Held(0, AMOUNT)
LACK = Lack("day:UTC:", 1, None, AMOUNT, None, None, None)
TURN = Turn("day:UTC:", AMOUNT, AMOUNT, 1.0)
WRONG_FIELDS: dict[str, Any] = {
    "held, no output": msgspec.structs.replace(HELD, output_tokens=None),
    "held, less than nothing": msgspec.structs.replace(HELD, output_tokens=-1),
    "held, no amount": msgspec.structs.replace(HELD, amount=5),
    "held, an amount of words": msgspec.structs.replace(HELD, amount=Amount(cast("int", "5"))),
    "held, no estimate": msgspec.structs.replace(HELD, likely=5),
    "lacking nothing known": Lacking(cast("Any", None)),
    "lacking, no lack": Lacking(cast("Any", (5,))),
    "lacking, no key": Lacking((msgspec.structs.replace(LACK, key="another"),)),
    "lacking, no amount": Lacking((msgspec.structs.replace(LACK, missing=None),)),
    "lacking, no limit": Lacking((msgspec.structs.replace(LACK, limit_tokens="1"),)),
    "lacking, no moment": Lacking((msgspec.structs.replace(LACK, frees_at="soon"),)),
    "lacking, behind nobody": Lacking((), cast("Any", (5,))),
    "charged": Charged(AMOUNT, ()),
}
WRONG_CHARGES: dict[str, Any] = {
    "charged, no amount": Charged(cast("Any", 5), ()),
    "charged, no windows": Charged(AMOUNT, cast("Any", None)),
    "charged, no turn": Charged(AMOUNT, (cast("Any", 5),)),
    "charged, no figures": Charged(AMOUNT, (msgspec.structs.replace(TURN, after=5),)),
    "held": HELD,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_store_that_answers_once_what_is_no_answer_is_met_as_one_that_failed(wrong: Answered) -> None:
    async def job(world: World) -> None:
        def once(landed: Landed) -> object:
            world.store.answered = lambda landed: landed
            return wrong(landed)

        world.store.answered = once
        with pytest.raises(LedgerUnavailableError, match="the ledger's store broke: it answers"):
            await world.reserve("one")
        world.settle("one", 0)
        assert isinstance(await world.reserve("two"), Granted)
        world.store.answered = once
        world.settle("two")
        await trio.sleep(2.1)
        assert await world.books() == (0, 40)

    assert talk(Own, job).events == []


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_one_that_never_answers_rightly_is_away(wrong: Answered) -> None:
    async def job(world: World) -> None:
        world.store.answered = wrong
        for _ in range(3):
            with pytest.raises(LedgerUnavailableError):
                await world.reserve("one")
            await trio.sleep(3)

    world = talk(Own, job)
    # What no step was asked for has no answers: those that have some are wrong about single steps.
    answers = wrong(Landed(1.0e9, ()))
    assert bool(world.changes) is not (isinstance(answers, Landed) and answers == Landed(1.0e9, ()))


@pytest.mark.parametrize("answer", [*WRONG_FIELDS.values()], ids=[*WRONG_FIELDS])
def test_so_is_one_whose_answer_to_a_reserve_has_a_field_of_another_kind(answer: Any) -> None:
    async def job(world: World) -> None:
        def wrong(landed: Landed) -> object:
            held = any(isinstance(each, Held) for each in landed.answers)
            return msgspec.structs.replace(landed, answers=(answer,)) if held else landed

        world.store.answered = wrong
        with pytest.raises(LedgerUnavailableError, match="the ledger's store broke: it answers"):
            await world.reserve("one")
        world.settle("one", 0)
        assert await world.books() == (0, 0)

    talk(Own, job)


@pytest.mark.parametrize("answer", [*WRONG_CHARGES.values()], ids=[*WRONG_CHARGES])
def test_so_is_one_whose_answer_to_a_charge_has(answer: Any) -> None:
    async def job(world: World) -> None:
        await world.reserve("one")

        def once(landed: Landed) -> object:
            if not landed.answers:
                return landed
            world.store.answered = lambda landed: landed
            return msgspec.structs.replace(landed, answers=(answer,))

        world.store.answered = once
        world.settle("one")
        await trio.sleep(2.1)
        assert await world.books() == (0, 40)

    assert talk(Own, job).events == []
