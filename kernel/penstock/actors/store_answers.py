"""What a ledger's store answers to a batch, looked at before it is believed: stores are plugins, and may be wrong.

Not here: what the answers mean (`policy.hold_queue`), and what becomes of a batch that was not answered
(`budget_keeper`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard, cast

from penstock.policy.holds import Amount
from penstock.policy.ledger_counting import EARLIEST, LATEST
from penstock.policy.ledger_steps import (
    Changed,
    Charged,
    Held,
    Known,
    Lack,
    Lacking,
    Landed,
    Reserve,
    Settle,
    Stale,
    Step,
    TopUp,
    Turn,
)

__all__ = ["WrongAnswerError", "checked_answers"]

_NOTHING_TO_SAY = (Known, Stale, Changed)


class WrongAnswerError(Exception):
    """What came is no answer to the batch. Its words are ours: nothing of what the store said is in them."""


def checked_answers(landed: object, steps: Sequence[Step]) -> Landed:
    """What was answered. Raises WrongAnswerError where that is none."""
    if not isinstance(landed, Landed):
        raise WrongAnswerError(f"{type(landed).__name__} in place of Landed")
    now, answers = cast("object", landed.now), cast("object", landed.answers)
    if not (isinstance(now, int | float) and EARLIEST < now < LATEST):
        raise WrongAnswerError("Landed.now is no Unix time")
    if not _is_row(answers):
        raise WrongAnswerError(f"Landed.answers is {type(answers).__name__} in place of a tuple")
    if len(answers) != len(steps):
        raise WrongAnswerError(f"{len(answers)} answers to {len(steps)} steps")
    for step, answer in zip(steps, answers, strict=True):
        if not _fits(step, answer):
            raise WrongAnswerError(f"{type(answer).__name__} to {type(step).__name__}, or a field of it is wrong")
    return landed


def _fits(step: Step, answer: object) -> bool:
    if isinstance(answer, _NOTHING_TO_SAY):
        return True
    match step:
        case Settle():
            return isinstance(answer, Charged) and _is_amount(answer.held) and _are_turns(answer.windows)
        case Reserve() | TopUp():
            return _is_held(answer) or _is_lacking(answer, {use.key for use in step.windows})
        case _:
            return False


def _is_held(answer: object) -> bool:
    return (
        isinstance(answer, Held)
        and isinstance(cast("object", answer.output_tokens), int)
        and answer.output_tokens >= 0
        and _is_amount(answer.amount)
        and (answer.likely is None or _is_amount(answer.likely))
    )


def _is_lacking(answer: object, keys: set[str]) -> bool:
    if not (isinstance(answer, Lacking) and _is_row(answer.lacks) and _is_row(answer.behind)):
        return False
    return all(_is_lack(lack, keys) for lack in answer.lacks) and all(isinstance(key, str) for key in answer.behind)


def _is_lack(lack: object, keys: set[str]) -> bool:
    return (
        isinstance(lack, Lack)
        and isinstance(cast("object", lack.key), str)
        and lack.key in keys
        and _is_amount(lack.missing)
        and all(amount is None or _is_amount(amount) for amount in (lack.missing_of_spent, lack.otherwise))
        and all(_is_figure(figure) for figure in (lack.limit_tokens, lack.limit_nano_usd))
        and all(_is_moment(moment) for moment in (lack.refills_at, lack.frees_at))
    )


def _are_turns(turns: object) -> bool:
    return _is_row(turns) and all(
        isinstance(turn, Turn)
        and isinstance(cast("object", turn.key), str)
        and _is_amount(turn.before)
        and _is_amount(turn.after)
        and _is_figure(turn.limit_tokens)
        and _is_figure(turn.limit_nano_usd)
        and isinstance(cast("object", turn.ends_at), int | float)
        for turn in turns
    )


def _is_amount(amount: object) -> bool:
    return (
        isinstance(amount, Amount)
        and isinstance(cast("object", amount.tokens), int)
        and isinstance(cast("object", amount.nano_usd), int)
    )


def _is_row(row: object) -> TypeGuard[Sequence[object]]:
    return isinstance(row, tuple | list)


def _is_figure(figure: object) -> bool:
    return figure is None or isinstance(figure, int)


def _is_moment(moment: object) -> bool:
    return moment is None or isinstance(moment, int | float)
