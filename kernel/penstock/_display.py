"""What is shown of a call's attempts while they come: to its consumer, or to go on from where one breaks.

Not here: what a commit policy lets out (`policy.commit`), and the attempts themselves (`_trials`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import trio
from msgspec import Struct

from penstock._asked import Call
from penstock._attempt import AttemptRun
from penstock._streamed_answer import StillMissing
from penstock.actors.stream_pump import Consumer
from penstock.policy.commit import Commit, Restart, Showing, is_token
from penstock.types import Chunk, Completion, Finished, Message, Restarted, Usage

__all__ = ["Display", "showing_of"]

WHOLE = Commit("whole")


class Display(Struct, eq=False):
    """Of one call. At any time it shows one attempt, or none yet."""

    call: Call
    consumer: Consumer | None
    """None: nobody watches; the answer is returned whole."""
    scope: trio.CancelScope
    """Of the whole call: its deadline."""
    showing: Showing
    shown: AttemptRun | None = None
    """The attempt whose answer is shown, or was when it broke."""
    replaced: str = ""
    """The text whose place the answer of the attempt that is shown takes."""
    restart_unseen: bool = False
    """The consumer was never told to drop it."""

    @property
    def committed(self) -> bool:
        """True once something was shown."""
        return self.showing.committed

    @property
    def seen(self) -> bool:
        """True where the consumer has something, of whichever attempt."""
        return self.consumer is not None and self.showing.committed

    def forget(self) -> None:
        """What came is no beginning to go on from: the next attempt begins as if nothing had come.

        Not where the consumer has something, be it of an earlier attempt: it has to be told to drop that.
        """
        if not self.seen:
            self.showing, self.shown = showing_of(self.call, self.consumer), None

    async def pass_on(self, attempt: AttemptRun, chunks: Sequence[Chunk], missing: StillMissing) -> None:
        """Chunks of an attempt: kept until its first token, then shown as the commit policy says."""
        if self.shown is not attempt:
            if self.watched:
                attempt.held = attempt.held or []
                attempt.held.extend(chunks)
            if not any(map(is_token, chunks)):
                return
            if not attempt.race.claim(attempt):
                attempt.exchange.pause_clocks()
                await trio.sleep_forever()  # until the winner's cancel is delivered, at the next step
            chunks, attempt.held = attempt.held or (), None
            self._show(attempt)
        attempt.span.chunk(attempt)
        if not self.watched:
            return
        before = self.showing.committed
        out = self.showing.take(chunks)
        if self.consumer is None or not out:
            return
        if not before:
            self.call.span.event("commit", attempt=attempt.running.number, policy=self.call.commit.policy)
        if missing == "nothing":
            self.consumer.hand_over(out)
        elif missing != "answer" or not self.consumer.offer(out):
            await self._put(self.consumer, out, attempt, whole=missing != "answer")

    async def _put(self, consumer: Consumer, out: Sequence[Chunk], attempt: AttemptRun, *, whole: bool) -> None:
        """Waits until the consumer has room. A `whole` answer is not lost to the call's deadline meanwhile: what there
        is no room for by then waits for the consumer.
        """
        pause = attempt.exchange.pause_clocks
        try:
            if not whole:
                await consumer.put(out, before_waiting=pause)
                return
            self.scope.deadline = math.inf
            with trio.CancelScope(deadline=self.call.deadline) as waiting:
                await consumer.put(out, before_waiting=pause)
            if waiting.cancelled_caught:
                consumer.hand_over(out, is_new=False)
        except BaseException:  # cancelled, as a rule: what is told as partial is what the consumer can read
            self.showing.unseen(out)
            self.restart_unseen = any(isinstance(chunk, Restarted) for chunk in out)
            raise

    def _show(self, attempt: AttemptRun) -> None:
        if isinstance(attempt.begin, Restart):
            self.replaced = self.partial
        self.shown = attempt
        self.showing.begin(attempt.begin)

    def finish(self, attempt: AttemptRun, completion: Completion, usage: Usage) -> Message:
        """The answer is complete: what was held back goes out, then `Finished`. Returns the whole answer."""
        if not self.watched:
            return completion.message  # and nothing came before it
        if self.shown is not attempt:
            self._show(attempt)
            self.showing.take(attempt.held or ())
        rest = self.showing.finish()
        if self.consumer is not None:
            self.consumer.hand_over([*rest, Finished(completion.finish_reason, usage)])
        return self.showing.joined(completion.message)

    @property
    def came(self) -> str:
        """The text that has come of the attempt that is shown, with the beginning that it goes on from."""
        return "" if self.shown is None else self.showing.joined(Message.assistant(self.shown.exchange.partial)).text

    @property
    def partial(self) -> str:
        """The text that the consumer has seen of an answer that is not complete."""
        if self.shown is None or self.consumer is None or not self.showing.committed:
            return ""
        if self.restart_unseen:
            return self.replaced
        return self.came[: self.showing.text_characters]

    @property
    def watched(self) -> bool:
        """True where it matters what is shown before the answer is whole: to a consumer, or to go on from it."""
        return _watched(self.call, self.consumer)


def showing_of(call: Call, consumer: Consumer | None) -> Showing:
    """What is shown of a call that begins."""
    # Who sees nothing before the end has seen nothing when an attempt fails, except of what can be gone on from.
    return Showing(call.commit if _watched(call, consumer) else WHOLE)


def _watched(call: Call, consumer: Consumer | None) -> bool:
    return consumer is not None or call.commit.policy == "continue"
