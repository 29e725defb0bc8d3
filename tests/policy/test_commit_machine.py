"""Streams that break at random, under every commit policy: a consumer that assembles what it is shown has the answer.

The consumer is the model: it knows nothing but its two rules, drop everything at `Restarted`, and go on at `Seam`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from penstock.policy.commit import COMMIT_NAMES, Begin, Commit, CommitName, Continue, Fresh, Restart, Showing, is_token
from penstock.types import (
    Chunk,
    Message,
    Part,
    Refusal,
    Restarted,
    Seam,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

Batches = Sequence[Sequence[Chunk]]
Held = tuple[str, Sequence[Chunk]]
"""What the consumer had of an answer before an attempt: its text, and the other chunks."""
End = Literal["whole", "cut", "not taken"]

WORDS = st.text("ab \n", max_size=4)
OTHERS: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(ThinkingDelta, WORDS),
    st.builds(ToolCallDelta, st.just(0), st.just("call_1"), st.just("f"), WORDS),
    st.builds(TextDelta, WORDS, st.just(True)),
)
USAGES: st.SearchStrategy[Chunk] = st.integers(0, 9).map(lambda tokens: UsageUpdate(Usage(output_tokens=tokens)))
TEXTS: st.SearchStrategy[Chunk] = st.builds(TextDelta, WORDS)
CHUNKS = st.one_of(TEXTS, TEXTS, TEXTS, USAGES, OTHERS)
BATCHES = st.lists(st.lists(CHUNKS, min_size=1, max_size=3), max_size=5)
ONLY_TEXT = st.lists(st.lists(st.one_of(TEXTS, USAGES), min_size=1, max_size=3), max_size=5)


class Consumer:
    """What somebody holds who obeys the markers."""

    def __init__(self) -> None:
        self.text = ""
        self.others: list[Chunk] = []
        self.marked = False
        """The last thing that was shown, beside usage, is a marker."""
        self.restarts: list[str] = []

    def shown(self, chunks: Sequence[Chunk]) -> None:
        for at, chunk in enumerate(chunks):
            match chunk:
                case Restarted(target=target) | Seam(target=target):
                    assert not self.marked, "two markers with nothing between"
                    assert at == 0, "a marker stands before everything that comes with it"
                    self.marked = True
                    if isinstance(chunk, Restarted):
                        self.text, self.others = "", []
                        self.restarts.append(target)
                    else:
                        assert any(map(is_token, chunks)), "a seam with nothing behind it"
                case TextDelta(text=text, refusal=False):
                    self.text += text
                    self.marked = self.marked and not text
                case _:
                    self.others.append(chunk)
                    self.marked = self.marked and not is_token(chunk)

    @property
    def more_than_text(self) -> bool:
        return any(is_token(chunk) for chunk in self.others)


def common_beginning(one: str, other: str) -> str:
    return max((one[:size] for size in range(len(one) + 1) if other.startswith(one[:size])), key=len)


def said(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta) and not chunk.refusal)


def not_said(chunks: Sequence[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if not (isinstance(chunk, TextDelta) and not chunk.refusal)]


def assembled(chunks: Sequence[Chunk]) -> Message:
    """The message that a codec would make of it: neighbours of one kind joined."""
    parts: list[Part] = []
    for chunk in chunks:
        match chunk, parts[-1:]:
            case TextDelta(text=text, refusal=False), [Text(text=before)]:
                parts[-1] = Text(before + text)
            case TextDelta(text=text, refusal=False), _:
                parts.append(Text(text))
            case TextDelta(text=text), _:
                parts.append(Refusal(text))
            case ThinkingDelta(text=text), _:
                parts.append(Thinking(text))
            case ToolCallDelta(), _:
                parts.append(ToolCall("call_1", "f"))
            case _:
                pass
    return Message("assistant", tuple(parts))


class Streams(RuleBasedStateMachine):
    """Calls of one policy: attempt after attempt, until one is whole, or the policy knows nothing better."""

    @initialize(policy=st.sampled_from(COMMIT_NAMES), characters=st.integers(1, 12))
    def start(self, policy: CommitName, characters: int) -> None:
        self.a_call(policy, characters)

    def a_call(self, policy: CommitName, characters: int) -> None:
        self.commit = Commit(policy, characters)
        self.showing = Showing(self.commit)
        self.consumer = Consumer()
        self.attempts = 0
        self.committed = False
        self.over = False

    @rule(batches=BATCHES, end=st.sampled_from(["whole", "cut", "cut", "not taken"]), prefill=st.booleans())
    def an_attempt(self, batches: Batches, end: End, prefill: bool) -> None:  # noqa: FBT001 - a parameter of the rule
        self.attempt(batches, end, prefill=prefill)

    @precondition(lambda self: self.commit.policy == "continue")
    @rule(batches=ONLY_TEXT, end=st.sampled_from(["whole", "cut", "cut", "cut"]))
    def an_attempt_that_repeats_white_space(self, batches: Batches, end: End) -> None:
        held = "" if self.over else self.consumer.text
        overlap = held[len(held.rstrip()) :]
        self.attempt([[TextDelta(character)] for character in overlap] + list(batches), end, prefill=True)

    def attempt(self, batches: Batches, end: End, *, prefill: bool) -> None:
        if self.over:
            self.a_call(self.commit.policy, self.commit.characters)
        self.attempts += 1
        begin = self.how_it_begins(prefill=prefill)
        before = ("", ()) if isinstance(begin, Restart) else (self.consumer.text, tuple(self.consumer.others))
        came: list[Chunk] = []
        begun = False
        for number, batch in enumerate(batches):
            came += batch
            if not begun and not any(map(is_token, came)):
                continue  # what comes before the first token is kept for it
            if not begun:
                self.showing.begin(begin)
            out = self.showing.take(batch if begun else came)
            begun = True
            if end == "not taken" and number == len(batches) - 1 and not any(isinstance(it, Restarted) for it in out):
                self.showing.unseen(out)
                self.over = True
                self.check_partial(came)
                return
            self.consumer.shown(out)
            self.check_what_is_held(begin, came, before)
        if end == "whole":
            self.finish(begin, came, before, begun=begun)
        else:
            self.cut(came, begun=begun)

    def how_it_begins(self, *, prefill: bool) -> Begin:
        if not self.committed:
            return Fresh()
        held, target = self.consumer.text, f"t{self.attempts}"
        may_go_on = self.commit.policy == "continue" and not self.consumer.more_than_text and held.strip() != ""
        assert self.showing.prefix == (held if may_go_on else None)
        return Continue(target, held) if may_go_on and prefill else Restart(target)

    def expected_text(self, begin: Begin, came: Sequence[Chunk], held: str) -> str:
        """What the consumer holds once all of it is shown."""
        if not isinstance(begin, Continue):
            return said(came)
        first = next((at for at, chunk in enumerate(came) if is_token(chunk) and not_said([chunk])), len(came))
        could_not_be_sent = held[len(held.rstrip()) :]
        again = common_beginning(could_not_be_sent, said(came[:first]))
        return held + said(came)[len(again) :]

    def is_ripe(self, came: Sequence[Chunk]) -> bool:
        match self.commit.policy:
            case "whole":
                return False
            case "buffer":
                sizes = [
                    len(chunk.arguments if isinstance(chunk, ToolCallDelta) else chunk.text)
                    for chunk in came
                    if isinstance(chunk, TextDelta | ThinkingDelta | ToolCallDelta)
                ]
                return sum(sizes) >= self.commit.characters
            case _:
                return any(map(is_token, came))

    def check_what_is_held(self, begin: Begin, came: Sequence[Chunk], before: Held) -> None:
        if not self.is_ripe(came):
            assert (self.consumer.text, self.consumer.others) == ("", [])
            return
        self.committed = True
        assert self.showing.committed
        assert self.consumer.text == self.expected_text(begin, came, before[0])
        assert self.consumer.others == [*before[1], *not_said(came)]
        assert self.showing.text_characters == len(self.consumer.text)
        assert (self.consumer.restarts[-1:] == [f"t{self.attempts}"]) == isinstance(begin, Restart)

    def finish(self, begin: Begin, came: Sequence[Chunk], before: Held, *, begun: bool) -> None:
        if not begun:
            self.showing.begin(begin)
            self.consumer.shown(self.showing.take(came))
        self.consumer.shown(self.showing.finish())
        assert not self.showing.finish()
        assert self.consumer.text == self.expected_text(begin, came, before[0])
        assert self.consumer.others == [*before[1], *not_said(came)]
        assert self.showing.joined(assembled(came)).text == self.consumer.text
        self.over = True

    def cut(self, came: Sequence[Chunk], *, begun: bool) -> None:
        if not begun:
            return  # nobody heard of it
        if not self.committed:
            assert (self.consumer.text, self.consumer.others) == ("", [])
            self.showing.lost()
            return
        self.check_partial(came)
        self.over = self.commit.policy not in ("continue", "restart")

    def check_partial(self, came: Sequence[Chunk]) -> None:
        """What the error would say: as much of the text as the consumer holds."""
        assert self.showing.joined(assembled(came)).text[: self.showing.text_characters] == self.consumer.text


TestStreams = Streams.TestCase
