"""What failures mean for a call: who is told, which stages are out of the question, and the error it ends in.

Not here: the rules (`policy.retry`), and what an attempt says of its target's health (`_health`).
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock._answers import CallCache
from penstock._asked import Call
from penstock._attempt import AttemptRun
from penstock._books import Books, action_key
from penstock._engine import Engine
from penstock._reach import Reach
from penstock._retry_leave import RetryLeave
from penstock._trials import Trials
from penstock.actors.stream_pump import Consumer
from penstock.errors import (
    BudgetCutError,
    BudgetExceededError,
    CallError,
    CircuitOpenError,
    ContentFilteredError,
    GenerationFailedError,
    InvalidRequestError,
    OutputInvalidError,
    ParameterDemandedError,
    RefusedError,
    StreamBrokenError,
    UnsupportedParameterError,
)
from penstock.policy.commit import Continue
from penstock.policy.money import usd_in_words
from penstock.policy.repairing import Fault, GiveUp, Next
from penstock.policy.retry import ACTIONS, Cascade, Cools, Same, Stop
from penstock.policy.retry_budget import Suppressed

if TYPE_CHECKING:
    from penstock._extraction import Extraction

__all__ = ["Failures"]

logger = logging.getLogger("penstock")


class Failures(Struct, eq=False):
    """Those of one call."""

    engine: Engine
    call: Call
    consumer: Consumer | None
    books: Books
    cache: CallCache
    cascade: Cascade
    reach: Reach
    leave: RetryLeave
    trials: Trials

    def of(self, attempt: AttemptRun, error: CallError) -> None:
        """An attempt ended in an error: the call goes on, or what was shown is all there will be."""
        trials, stage = self.trials, attempt.stage
        if isinstance(error, OutputInvalidError) and trials.extraction is not None:
            self.invalid(trials.extraction, attempt, error)
            return
        if isinstance(error, BudgetCutError):
            self.cut(attempt, error)
            return
        if trials.extraction is not None and self.asked_otherwise(trials.extraction, attempt, error):
            self.books.note(error)
            self.cache.end(gone="uncacheable")
            self.call.span.event("attempt_failed", target=attempt.target.name, kind=error.kind)
            return
        if isinstance(attempt.begin, Continue) and action_key(error) in ("invalid_request", "context_length"):
            # Of the prefix, most likely: the same target is asked again without it, and for its own answer.
            trials.prefill_refused |= {stage}
            self.books.note(error)
            return
        if attempt.filtered:
            trials.display.forget()  # it was whole, and is not wanted: the next target begins anew
        elif trials.display.shown is attempt and trials.display.committed:
            # Nor is what goes on from it the answer of any one target, to be stored and shared.
            self.cache.end(gone="target_failed")
            self.call.span.event("cut", target=attempt.target.name, reason=error.kind)
            if not self.call.commit.goes_on:
                raise self.last_word(error)
        elif trials.display.shown is attempt:
            trials.display.showing.lost()
        self.note(stage, error, of_this_call=attempt.filtered)

    def asked_otherwise(self, extraction: Extraction, attempt: AttemptRun, error: CallError) -> bool:
        """True where the same target is asked for the value in another way; not where what was shown is all."""
        display = self.trials.display
        final = display.seen and display.shown is attempt and not self.call.commit.goes_on
        if isinstance(error, InvalidRequestError):
            # Of the schema: models and servers differ in what they take, and no table knows them all. Later calls know.
            return extraction.degrade(attempt.stage, error) and not final
        if final or not isinstance(error, GenerationFailedError) or not extraction.ask_in_words(attempt.stage):
            return False
        display.forget()
        return True

    def invalid(self, extraction: Extraction, attempt: AttemptRun, error: OutputInvalidError) -> None:
        """The answer is whole, and is not what was asked for: mended by another attempt, or that is the end."""
        trials = self.trials
        self.books.note(error)
        self.cache.end(gone="uncacheable")
        reason = "" if attempt.completion is None else attempt.completion.finish_reason
        step = extraction.after(attempt, error, capped=trials.hold.capped(attempt.stage, reason))
        assert isinstance(error.fault, Fault)
        if isinstance(step, GiveUp) or (trials.display.seen and not self.call.commit.goes_on):
            if isinstance(step, GiveUp):
                error.args = (f"{error.args[0]}; {step.says}",)
            raise self.books.signed(error)
        self.call.span.event("repair", target=attempt.target.name, reason=error.fault.kind, step=step.name)
        if isinstance(step, Next):
            self.cascade.give_up(attempt.stage)
        trials.display.forget()

    def unmended(self, invalid: OutputInvalidError, refusal: CallError) -> CallError:
        """The error of a call whose answer is not valid, and whose next attempt there is no money or ledger for."""
        if isinstance(refusal, BudgetExceededError):
            whose = f"account {refusal.account!r}" if refusal.account else "the root account"
            of = f" of its limit of {refusal.limit}" if refusal.limit else ""
            says = f"a repair did not fit the budget: {whose} lacks {_lacking(refusal)}{of}"
        else:
            says = f"a repair could not be booked: {refusal}"
        invalid.args = (f"{invalid.args[0]}; {says}",)
        invalid.retry_after = refusal.retry_after
        invalid.__cause__ = refusal
        return self.books.signed(invalid)

    def cut(self, attempt: AttemptRun, error: BudgetCutError) -> None:
        """The answer used up the hold. That is the end under every commit policy, but where another attempt won."""
        self.call.span.event("cut", target=attempt.target.name, reason=error.kind)
        self.books.note(error)
        if attempt.race.winner not in (None, attempt):
            self.cascade.give_up(attempt.stage)
            return
        if self.trials.display.seen:
            error.partial = self.trials.display.partial
        raise self.books.signed(error)

    def pass_over(self, stage: int, error: CallError) -> None:
        """The target cannot be asked this: another may be, where the rule for what it cannot take does not end it."""
        self.call.span.event("passed_over", target=self.call.targets[stage].name, kind=error.kind)
        if isinstance(error, UnsupportedParameterError) and not isinstance(error, ParameterDemandedError):
            self.refuse(stage, error)
        else:
            self.note(stage, error)

    def refuse(self, stage: int, error: CallError) -> None:
        """The stage is out of the question for this call."""
        self.cascade.give_up(stage)
        if error not in self.books.refusals:
            self.books.refusals = (*self.books.refusals, error)

    def note(self, stage: int, error: CallError, *, of_this_call: bool = False) -> None:
        """Tells the cascade, and whoever must act. `of_this_call`: another call might not take it for a failure."""
        kind = action_key(error)
        target = self.call.targets[stage]
        if ACTIONS[kind].loud:
            logger.error("target %s: %s; someone has to act", target.name, error.kind)
        self.books.note(error)
        if of_this_call:
            self.cache.end(gone="uncacheable")
        else:
            self.cache.failed(error)
        self.call.span.event("attempt_failed", target=target.name, kind=kind)
        counts = self.cascade.failed(
            stage,
            kind,
            now=self.engine.clock.monotonic(),
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            retry_after=error.retry_after,
            should_retry=getattr(error, "should_retry", None),
        )
        if ACTIONS[kind].same is Same.LAST:
            self.reach.silent |= {stage}
        if ACTIONS[kind].cools is Cools.KEY or kind == "authentication":
            self.key_is_useless(target.key)
        if counts:
            self.leave.failed(target.provider.name, kind)

    def key_is_useless(self, key: str) -> None:
        """It is refused, or its account is empty: no other target will find it better. What this call has told of it
        may not be known to everyone yet.
        """
        for stage, target in enumerate(self.call.targets):
            if target.key == key:
                self.cascade.give_up(stage)

    def suppress(self, suppressed: Suppressed) -> None:
        """No more attempts at that provider: others may still be tried, for the first time."""
        self.books.suppressed = suppressed
        for stage, target in enumerate(self.call.targets):
            if target.provider.name == suppressed.provider:
                self.cascade.give_up(stage)

    def verdict(self, stop: Stop, now: float) -> CallError:
        """The error of a call that can try no more."""
        error = self.books.verdict(stop, now)
        if isinstance(error, CircuitOpenError):
            self.reach.tell_barred()
        return self.last_word(error)

    def last_word(self, error: CallError) -> CallError:
        """The error that the call ends in; where something was shown, it says that this is not the whole of it."""
        if not self.trials.display.seen:
            return error
        if self.trials.extraction is not None and isinstance(error, ContentFilteredError | RefusedError):
            return error  # nothing broke: it is what came in place of a value
        broken = StreamBrokenError(
            f"the stream broke after it had begun: {error}",
            partial=self.trials.display.partial,
            retry_after=error.retry_after,
            request_id=error.request_id,
        )
        broken.__cause__ = error
        return self.books.signed(broken)


def _lacking(refusal: BudgetExceededError) -> str:
    money = [f"{usd_in_words(refusal.missing_nano_usd)} USD"] if refusal.missing_nano_usd > 0 else []
    tokens = [f"{refusal.missing_tokens} tokens"] if refusal.missing_tokens > 0 else []
    return " and ".join(money + tokens) or "what calls before this one wait for"
