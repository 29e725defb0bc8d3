"""When a stream is first shown to its consumer, and what may follow once it was: the commit policies.

Not here: who reads the stream (`_streamed_answer`), and which target goes on after a failure (`retry`).

| policy | shown first | a failure before that | a failure after that |
| --- | --- | --- | --- |
| `first_content` | with the first token of any kind | met unseen: the cascade goes on | StreamBrokenError |
| `buffer` | once so many characters came, or at the end | met unseen | StreamBrokenError |
| `whole` | when the answer is complete | met unseen | there is none |
| `continue` | with the first token | met unseen | `Seam`, then the rest where a prefill is taken; else as `restart` |
| `restart` | with the first token | met unseen | `Restarted`, then another answer from its start |

Under every policy: an empty delta is no token; a stream that was shown and ends in an error has shown exactly its
`partial`, since the last `Restarted` (where nothing was shown, that is what came of the attempt that was cut); and
whatever ends the cascade after something was shown is told in a StreamBrokenError.

A prefill is text and nothing else. So `continue` restarts where thinking, a tool call or a refusal was shown, where
thinking or a schema is asked for, and where the target takes no prefill: one that its codec believes to take it and
that refuses is asked again without it, once. Where the answer is wanted whole (`complete`), `continue` goes on from
what came of a streamed attempt, and the other policies are all `whole`.

What it costs: `first_content` and `restart` keep nothing; `buffer` what came before it is shown; `whole` every chunk of
the answer; `continue` a second copy of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, cast, get_args

import msgspec
from msgspec import Struct

from penstock.policy.bound import lower_bound_tokens
from penstock.policy.growing import GrowingText
from penstock.types import (
    ChatRequest,
    Chunk,
    Message,
    Part,
    Restarted,
    Seam,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)

__all__ = [
    "COMMIT_NAMES",
    "FIRST_CONTENT",
    "Begin",
    "Commit",
    "CommitName",
    "Continue",
    "Fresh",
    "Restart",
    "Showing",
    "continued",
    "is_token",
]

CommitName: TypeAlias = Literal["first_content", "buffer", "whole", "continue", "restart"]
COMMIT_NAMES: tuple[CommitName, ...] = get_args(CommitName)
BUFFERED_CHARACTERS = 400
"""About a paragraph: most streams that break at once have broken by then, and a reader waits two seconds more."""


class Commit(Struct, frozen=True):
    """A commit policy: its name, or `Commit.buffer(characters=400)`."""

    policy: CommitName = "first_content"
    characters: int = BUFFERED_CHARACTERS
    """Of text, thinking and arguments of tools, for `buffer`."""

    def __post_init__(self) -> None:
        if self.policy not in COMMIT_NAMES:
            raise ValueError(f"{self.policy!r} is no commit policy; valid are {', '.join(COMMIT_NAMES)}")
        characters = cast("object", self.characters)
        if isinstance(characters, bool) or not isinstance(characters, int) or characters < 1:
            raise ValueError(f"characters is {characters!r}; it must be a whole number from 1 on")

    @classmethod
    def buffer(cls, characters: int = BUFFERED_CHARACTERS) -> Commit:
        """Shows nothing before so many characters came, or the answer is complete."""
        return cls("buffer", characters)

    @property
    def goes_on(self) -> bool:
        """True where a failure after the commit need not be the end."""
        return self.policy in ("continue", "restart")


FIRST_CONTENT = Commit()
"""The default."""


class Fresh(Struct, frozen=True):
    """An attempt whose answer is the first that is shown."""


FRESH = Fresh()


class Restart(Struct, frozen=True):
    """An attempt whose answer takes the place of the one that was shown and broke."""

    target: str


class Continue(Struct, frozen=True):
    """An attempt that goes on from `prefix`, what was shown so far."""

    target: str
    prefix: str

    @property
    def prefill(self) -> str:
        """What the target is given as the beginning of its answer: providers refuse one that ends in white space."""
        return self.prefix.rstrip()


Begin: TypeAlias = Fresh | Restart | Continue


def is_token(chunk: Chunk) -> bool:
    """True for a delta of the answer itself: text, thinking, a tool call. An empty one shows nothing, and is none."""
    match chunk:
        case TextDelta(text=text) | ThinkingDelta(text=text):
            return bool(text)
        case ToolCallDelta():
            return True
        case _:
            return False


def continued(request: ChatRequest, prefill: str) -> ChatRequest:
    """The request with the beginning of its answer, for a target that goes on from it.

    Tokens that it certainly used up are taken off `max_tokens`.
    """
    last = request.messages[-1]
    if last.role == "assistant":
        # The caller's own beginning of the answer stays what it is: the answer that broke went on from it.
        messages = (*request.messages[:-1], Message("assistant", (*last.content, Text(prefill)), last.name))
    else:
        messages = (*request.messages, Message.assistant(prefill))
    most = request.max_tokens
    if most is not None:
        most = max(1, most - lower_bound_tokens(len(prefill.encode(errors="surrogatepass"))))
    return msgspec.structs.replace(request, messages=messages, max_tokens=most)


class _Shown(Struct, eq=False):
    """What the consumer has of an answer, as far as going on from it needs to know."""

    text: GrowingText = msgspec.field(default_factory=GrowingText)
    more_than_text: bool = False
    """Thinking, a tool call, a refusal: nothing that a prefill could say."""

    def add(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            match chunk:
                case TextDelta(text=text, refusal=False):
                    self.text.write(text)
                case _:
                    self.more_than_text = self.more_than_text or is_token(chunk)


class Showing:
    """Decides what goes out to the consumer of one call.

    Laws: nothing of an attempt that failed before it was committed is ever shown; after the commit chunks go out at
    once and in order; what a consumer holds, dropping everything at each `Restarted`, is at the end exactly the text
    of the answer; a `Seam` comes only before content, a `Restarted` before content or before an end without any, and
    never are two of them shown with no content between.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._shown: _Shown | None = None
        """None under the policies that never go on from it."""
        self._held: list[Chunk] | None = None
        """None where nothing came: of most whole answers nothing does, until they are here."""
        self._buffered = 0
        self._marker: Chunk | None = None
        self._open = False
        self._begin: Begin = FRESH
        self._overlap = ""
        self._dropped = 0
        self.committed = False
        """Something was shown."""
        self.text_characters = 0
        """Of text, without refusals, that a consumer holds."""

    def begin(self, begin: Begin) -> None:
        """An attempt brings its first token, or its whole answer: what it brings is shown from now on."""
        self._begin, self._open, self._dropped = begin, False, 0
        self._held, self._buffered, self._marker, self._overlap = None, 0, None, ""
        match begin:
            case Fresh():
                pass
            case Restart(target=target):
                self._marker = Restarted(target)
            case Continue(target=target, prefix=prefix):
                self._marker = Seam(target)
                self._overlap = prefix[len(begin.prefill) :]

    def take(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Chunks came; returns those that go out now."""
        if self._open:
            return self._passed(chunks)
        self._held = self._held or []
        self._held.extend(chunks)
        if not self._is_ripe(chunks):
            return ()
        return self._release()

    def finish(self) -> Sequence[Chunk]:
        """The answer is complete: what was held back goes out."""
        out = () if self._open else self._release()
        if not isinstance(self._marker, Restarted):
            return out
        # It has no content at all: what the consumer holds is not the answer all the same.
        marker, self._marker = self._marker, None
        return [marker, *out]

    def lost(self) -> None:
        """The attempt failed before it was shown."""
        self._held, self._buffered = None, 0

    def unseen(self, chunks: Sequence[Chunk]) -> None:
        """These were to go out, and the consumer did not take them."""
        self.text_characters -= sum(map(_text_characters, chunks))

    @property
    def prefix(self) -> str | None:
        """What can be gone on from; None where the policy is not to, or something was shown that no prefill can say."""
        if self._shown is None or self._shown.more_than_text:
            return None
        text = self._shown.text.getvalue()
        return text if text.strip() else None

    def joined(self, message: Message) -> Message:
        """The whole answer, where `message` is what the last attempt said of it."""
        begin = self._begin
        if not isinstance(begin, Continue):
            return message
        parts: list[Part] = [Text(begin.prefix)]
        drop = self._dropped
        for part in message.content:
            if not isinstance(part, Text):
                parts.append(part)
                continue
            kept = part.text[drop:]
            drop = max(0, drop - len(part.text))
            if isinstance(parts[-1], Text) and not (parts[-1].citations or part.citations):
                parts[-1] = Text(parts[-1].text + kept)
            elif kept or part.citations:
                parts.append(Text(kept, part.cache, part.citations))
        return Message(message.role, tuple(parts))

    def _is_ripe(self, chunks: Sequence[Chunk]) -> bool:
        match self._commit.policy:
            case "whole":
                return False
            case "buffer":
                self._buffered += sum(map(_characters, chunks))
                return self._buffered >= self._commit.characters
            case "first_content" | "continue" | "restart":
                return any(map(is_token, chunks))

    def _release(self) -> Sequence[Chunk]:
        held, self._held = self._held or (), None
        self._open = self.committed = True
        if not isinstance(self._begin, Continue):
            self._shown, self.text_characters = _Shown() if self._commit.policy == "continue" else None, 0
        return self._passed(held)

    def _passed(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        if self._overlap:
            chunks = [kept for chunk in chunks if (kept := self._without_overlap(chunk)) is not None]
        self.text_characters += sum(map(_text_characters, chunks))
        if self._shown is not None:
            self._shown.add(chunks)
        if self._marker is None or not any(map(is_token, chunks)):
            return chunks
        marker, self._marker = self._marker, None
        return [marker, *chunks]

    def _without_overlap(self, chunk: Chunk) -> Chunk | None:
        """White space that was shown and could not be sent is not shown again where the continuation repeats it."""
        if not isinstance(chunk, TextDelta) or chunk.refusal:
            self._overlap = "" if is_token(chunk) else self._overlap
            return chunk
        same = 0
        for shown, comes in zip(self._overlap, chunk.text, strict=False):
            if shown != comes:
                break
            same += 1
        self._dropped += same
        # Where it goes on in another way, what is left of the overlap repeats nothing.
        self._overlap = self._overlap[same:] if same == len(chunk.text) else ""
        return TextDelta(chunk.text[same:]) if same < len(chunk.text) else None


def _characters(chunk: Chunk) -> int:
    match chunk:
        case TextDelta(text=text) | ThinkingDelta(text=text) | ToolCallDelta(arguments=text):
            return len(text)
        case _:
            return 0


def _text_characters(chunk: Chunk) -> int:
    return len(chunk.text) if isinstance(chunk, TextDelta) and not chunk.refusal else 0
