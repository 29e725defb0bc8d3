"""The JSON of Chat Completions: to bytes, and from them as far as it is read; whatever else they hold is skipped.

Only what must have one shape for the answer to be understood has a type here. Servers that imitate this wire differ in
all the rest, and a usage or a citation in a strange shape must not cost the answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from penstock.errors import MalformedResponseError, UnsendableRequestError

__all__ = [
    "Answer",
    "Call",
    "Choice",
    "Custom",
    "Function",
    "Piece",
    "as_answer",
    "parse_chunk",
    "parse_json",
    "to_json",
]


class Function(Struct, frozen=True):
    """A function's name and its arguments: JSON text, or (from some imitators) the object itself."""

    name: str | None = None
    arguments: Any = None


class Custom(Struct, frozen=True):
    """A custom tool's name and the free text it is given."""

    name: str | None = None
    input: str | None = None


class Call(Struct, frozen=True):
    """A tool call, or a piece of one. Some servers leave out `index`, some the `id`."""

    index: int | float | None = None
    """Some count in 0.0, as in usage."""
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Any = None
    """Gemini's imitation: the signature of the thought that led to the call, without which Gemini 3 refuses it."""


class Piece(Struct, frozen=True):
    """A message, or what a stream adds to one."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None


class Choice(Struct, frozen=True):
    """One of the answers. `message` comes unstreamed, `delta` streamed (from Perplexity both)."""

    index: int | float | None = None
    message: Piece | None = None
    delta: Piece | None = None
    finish_reason: str | None = None
    finish_details: Any = None
    usage: Any = None
    error: Any = None
    """OpenRouter's: of a provider behind it that broke off."""


class Answer(Struct, frozen=True):
    """A whole response, or one chunk of a streamed one."""

    id: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    citations: Any = None
    search_results: Any = None


_chunk = msgspec.json.Decoder(Answer)


def to_json(value: Any) -> bytes:
    """JSON in the order it is given in. Raises UnsendableRequestError for what JSON cannot carry."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Not `from`: the exception holds the whole text.
        raise UnsendableRequestError("the request holds text that is not valid Unicode (a lone surrogate)") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnsendableRequestError(f"the request holds a value that JSON cannot carry: {error}") from error


def parse_json(data: bytes | str, what: str) -> Any:
    """Foreign JSON. Raises MalformedResponseError naming `what`; a byte order mark is overlooked."""
    text = data.removeprefix(b"\xef\xbb\xbf") if isinstance(data, bytes) else data
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedResponseError(f"{what} is not JSON") from error


def parse_chunk(data: str, number: int) -> Answer:
    """A chunk's text as an Answer. Raises MalformedResponseError naming the `number` of the chunk in its stream."""
    try:
        return _chunk.decode(data)
    except msgspec.ValidationError as error:
        raise _no_answer(f"chunk {number} of the stream", error) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedResponseError(f"chunk {number} of the stream is not JSON") from error


def as_answer(payload: Any, what: str) -> Answer:
    """A parsed body as an Answer. Raises MalformedResponseError naming `what`."""
    try:
        return msgspec.convert(payload, Answer)
    except msgspec.ValidationError as error:
        raise _no_answer(what, error) from error


def _no_answer(what: str, error: msgspec.ValidationError) -> MalformedResponseError:
    """The reason names fields and types, never contents."""
    return MalformedResponseError(f"{what} is no Chat Completions answer: {error}")
