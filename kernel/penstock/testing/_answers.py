"""What a test may give as an answer of a provider, and the script that deals the answers out, one to an attempt.

Not here: how they travel to the kernel (`_answering`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import TypeAlias, cast

import httpx
import msgspec

from penstock.errors import (
    AuthenticationError,
    CallError,
    ContentFilteredError,
    ContextLengthError,
    GenerationFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PenstockError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    RefusedError,
    RejectedError,
    ServerError,
    TransportError,
    replica,
)
from penstock.testing._scripted import Silence
from penstock.types import ChatRequest, ChatResponse, Completion, Discreet, Message, Part, Text, ToolCall, Usage

__all__ = ["Asked", "GivenAnswer", "OutOfAnswersError", "Played", "Script", "UnusedAnswersError"]

_Plain: TypeAlias = (
    str | Message | Part | Sequence[Part] | Completion | ChatResponse | Exception | type[Exception] | Silence
)
GivenAnswer: TypeAlias = _Plain | Callable[[ChatRequest], "_Plain | Awaitable[_Plain]"]
"""A text, a Message, parts of one (tool calls), a Completion or ChatResponse; an error as the provider would have
answered it; any other exception, which the transport raises; Silence; or a function of the request, also an async one,
that returns one of these."""
Played: TypeAlias = Completion | Exception | Silence

STATUSES: tuple[tuple[type[ProviderError], int], ...] = (
    (RateLimitedError, 429),
    (QuotaExhaustedError, 402),
    (OverloadedError, 503),
    (ServerError, 500),
    (AuthenticationError, 401),
    (PermissionDeniedError, 403),
    (ModelNotFoundError, 404),
    (InvalidRequestError, 400),
    (ContextLengthError, 400),
    (ContentFilteredError, 400),
    (RefusedError, 400),
    (GenerationFailedError, 400),
)
"""The status that an error of that kind comes with, where it names none."""


class OutOfAnswersError(AssertionError):
    """More attempts were made than answers were given; the message lists them."""


class UnusedAnswersError(AssertionError):
    """Fewer attempts were made than answers were given; the message says which were never asked for."""


class Asked(Discreet, frozen=True, kw_only=True):
    """One attempt, as it reached the provider."""

    shown = frozenset({"target", "streamed"})

    target: str
    streamed: bool
    request: ChatRequest
    """As the kernel sent it: with `max_tokens` where a budget set it."""


class Script:
    """The answers, and what was asked. An answer is dealt once; a function in place of the list answers everything."""

    def __init__(self, answers: Sequence[GivenAnswer] | Callable[[ChatRequest], object]) -> None:
        if isinstance(answers, str | bytes):
            raise TypeError("answers is a list, one for each attempt; one text goes in brackets")
        self._every = answers if callable(answers) else None
        self._answers = [] if callable(answers) else list(answers)
        for place, answer in enumerate(self._answers):
            _check(answer, f"answers[{place}]")
        # All of them are kept: a test wants to see them, and ends.
        self.asked: list[Asked] = []
        self._played: list[str] = []
        self._errors: dict[int, ProviderError] = {}
        self.failure: Exception | None = None
        """What the test must hear: it ran out of answers, or a function of its own broke."""

    @property
    def left(self) -> int:
        """How many answers nobody asked for yet."""
        return max(0, len(self._answers) - len(self.asked))

    def check_all_asked(self) -> None:
        """Raises UnusedAnswersError where answers are left, but where the test has heard of a failure already."""
        if not self.left or self.failure is not None:
            return
        first = len(self.asked)
        never = [f"  {place}. {_kind(answer)}" for place, answer in enumerate(self._answers[first:], first + 1)]
        given = "1 answer was" if self.left == 1 else f"{self.left} answers were"
        raise UnusedAnswersError(
            f"{given} never asked for, of {len(self._answers)} given; attempts made: {first}."
            " Where that is fine, say all_asked=False:\n" + "\n".join(never)
        )

    async def play(self, asked: Asked) -> tuple[int, Played]:
        """The number of the attempt, from 1, and what it meets."""
        self.asked.append(asked)
        number = len(self.asked)
        self._played.append("nothing yet")
        try:
            played = await self._deal(asked, number)
        except Exception as failure:  # noqa: BLE001 - the test's own code: it is told to the test, not to the app
            self.failure = self.failure or failure
            # No row of the cascade tries this one again, at whichever target.
            played = InvalidRequestError("the test has no answer for this attempt: see what its end raises", status=400)
        self._played[number - 1] = _name(played)
        if isinstance(played, ProviderError):
            self._errors[number] = played
        return number, played

    def error(self, number: int) -> ProviderError:
        """The error that the attempt of that number met, for one call to raise and sign."""
        error = cast("ProviderError", replica(self._errors[number]))
        error.status = error.status or next((status for kind, status in STATUSES if isinstance(error, kind)), 400)
        return error

    async def _deal(self, asked: Asked, number: int) -> Played:
        if self._every is None and number > len(self._answers):
            raise OutOfAnswersError(self._told())
        answer: object = self._every or self._answers[number - 1]
        if callable(answer) and not isinstance(answer, type):
            try:
                answer = cast("Callable[[ChatRequest], object]", answer)(asked.request)
                answer = await answer if isawaitable(answer) else answer
            except (CallError, httpx.TransportError) as error:
                answer = error
            _check(answer, "what the function of the answers returned", plain=True)
        return _played(answer, asked.request)

    def _told(self) -> str:
        met = zip(self.asked, [*self._played[:-1], "no answer left"], strict=True)
        lines = [
            f"  {place}. {asked.target}{' (streamed)' if asked.streamed else ''}: {played}"
            for place, (asked, played) in enumerate(met, 1)
        ]
        given = "1 answer was" if len(self._answers) == 1 else f"{len(self._answers)} answers were"
        return f"{given} given, and {len(self.asked)} attempts were made:\n" + "\n".join(lines)


def _check(answer: object, place: str, *, plain: bool = False) -> None:
    """Raises TypeError that says what is no answer, and why."""
    match answer:
        case type() if issubclass(answer, Exception):
            _check_error(answer, place)
        case str() | Message() | Completion() | ChatResponse() | Silence():
            pass
        case Exception():
            _check_error(type(answer), place)
        case list() | tuple() if answer and all(_is_part(part) for part in cast("Sequence[object]", answer)):
            pass
        case _ if _is_part(answer) or (callable(answer) and not plain and not isinstance(answer, type)):
            pass
        case _:
            raise TypeError(
                f"{place} is of type {type(answer).__name__}; an answer is a text, a Message, tool calls, a Completion,"
                " a ChatResponse, an exception, Silence(), or a function of the request that returns one of these"
            )


def _check_error(kind: type[Exception], place: str) -> None:
    no_answer = issubclass(kind, PenstockError) and not issubclass(kind, ProviderError | TransportError)
    if no_answer or issubclass(kind, RejectedError):
        raise TypeError(
            f"{place} is {kind.__name__}: that is what a call ends in, not what a provider answers;"
            " give what each attempt of the call meets, one answer for each"
        )


def _is_part(value: object) -> bool:
    return isinstance(value, Part)


def _played(answer: object, request: ChatRequest) -> Played:
    match answer:
        case type():
            return _played(answer(), request)
        case Exception() | Silence() | Completion():
            return answer
        case ChatResponse():
            return Completion(
                message=answer.message,
                finish_reason=answer.finish_reason,
                usage=answer.usage,
                model=answer.model,
                id=answer.id,
            )
        case Message():
            message = answer
        case str():
            message = Message.assistant(answer)
        case _:
            parts = cast("Sequence[Part]", answer if isinstance(answer, list | tuple) else [answer])
            message = Message.assistant(list(parts))
    said = len(msgspec.json.encode(message.content)) if message.tool_calls else len(message.text.encode())
    usage = Usage(input_tokens=_tokens(_size(request)), output_tokens=_tokens(said))
    return Completion(
        message=message, finish_reason="tool_calls" if message.tool_calls else "stop", usage=usage, model="scripted"
    )


def _tokens(size: int) -> int:
    """A quarter of the bytes, rounded up, and at least one: nobody's tokenizer, but everyone can check it by hand."""
    return max(1, -(-size // 4))


def _size(request: ChatRequest) -> int:
    return sum(
        len(part.text.encode()) for message in request.messages for part in message.content if isinstance(part, Text)
    )


def _kind(answer: object) -> str:
    """For a list of answers nobody asked for: never what they say."""
    return answer.__name__ if isinstance(answer, type) else type(answer).__name__


def _name(played: Played) -> str:
    """For a list of attempts: never what was said."""
    match played:
        case CallError():
            return type(played).__name__
        case Completion():
            return "a tool call" if any(isinstance(part, ToolCall) for part in played.message.content) else "an answer"
        case _:
            return type(played).__name__
