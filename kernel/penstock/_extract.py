"""`Kernel.extract` and `Kernel.stream_extract`: what they take, and what comes back."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypedDict, TypeVar

import attrs
import trio

from penstock._plan import CallOptions, make_request
from penstock._stream import ChatStream, OpenStream
from penstock._validator_chain import Further
from penstock.errors import KernelError, OutputInvalidError
from penstock.policy.cache_policy import CachePolicy
from penstock.policy.json_partial import PartialJson
from penstock.types import (
    ChatRequest,
    ChatResponse,
    Message,
    Restarted,
    TextDelta,
    ThinkingLevel,
    Tool,
    ToolCallDelta,
)

__all__ = ["ExtractStream", "Extracted", "OpenExtractStream", "Output", "Words", "called_tools", "wanting"]

T = TypeVar("T")


class Output(Generic[T]):
    """Names a type that is no class, for type checkers: `extract(Output[Literal["yes", "no"]], ...)`.

    A union, a Literal or a list may be given as it is, too; then checkers may not know what comes back.
    """


class Words(TypedDict, total=False):
    """The keywords of `complete`, and `validators`: what a value has to pass behind its type."""

    system: str | Message | None
    model: str | None
    max_tokens: int | None
    temperature: float | None
    tools: Sequence[Tool | Mapping[str, Any]] | None
    thinking: ThinkingLevel | int | None
    route: str | None
    account: str | None
    timeout: float | None
    cache: str | CachePolicy | None
    priority: object
    sticky: object
    metadata: Mapping[str, Any] | None
    validators: Sequence[Further]


OF_REQUESTS = frozenset({"system", "model", "max_tokens", "temperature", "tools", "thinking"})


@attrs.frozen
class Extracted(Generic[T]):
    """A value, and the response it was made of: with the attempts, the usage and the cost of all of them."""

    value: T
    response: ChatResponse

    @classmethod
    def of(cls, response: ChatResponse, *, called_tools: bool) -> Extracted[Any]:
        """Raises OutputInvalidError where the model called tools instead of answering."""
        if called_tools:
            raise OutputInvalidError(
                f"{response.target}: the model called tools instead of answering",
                last_output=response.text,
                attempts=response.attempts,
                usage=response.usage,
                cost=response.cost,
            )
        return Extracted(response.value, response)


def wanting(kind: Any, asked: Any, words: Words, max_repairs: int) -> tuple[ChatRequest, CallOptions]:
    """The request and the options of a call whose answer is to become a value."""
    if not isinstance(kind, type) and typing.get_origin(kind) is Output:
        (kind,) = typing.get_args(kind)
    if not words:
        return make_request(asked), CallOptions(kind=kind, max_repairs=max_repairs)
    of_request: dict[str, Any] = {name: value for name, value in words.items() if name in OF_REQUESTS}
    others: dict[str, Any] = {name: value for name, value in words.items() if name not in OF_REQUESTS}
    further = others.pop("validators", ())
    request = make_request(asked, **of_request)
    return request, CallOptions(**others, kind=kind, validators=further, max_repairs=max_repairs)


class ExtractStream(Generic[T]):
    """Async-iterates the value while it grows: plain JSON data, the same objects, growing in place.

    Copy what you keep. Each step has something new; after an answer that was not valid another value begins to grow.
    The last one is not checked: `value` is, after the iteration has ended. Whatever ends the call is raised by it.
    """

    def __init__(self, stream: ChatStream, *, schema: Any = None, callers_tools: bool = False) -> None:
        self._stream = stream
        self._schema = schema
        self._growing = PartialJson(schema)
        self._callers_tools = callers_tools
        """Calls are of these, then: the value is never asked for by a tool beside them."""
        self._called = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            chunk = await anext(self._stream)
            changed = False
            match chunk:
                case Restarted():
                    self._growing, self._called = PartialJson(self._schema), False
                case TextDelta(refusal=False) if not self._called:
                    changed = self._growing.feed(chunk.text)
                case ToolCallDelta() if not self._callers_tools:
                    if not self._called:  # what was said before it is not the value
                        self._growing, self._called = PartialJson(self._schema), True
                    changed = self._growing.feed(chunk.arguments)
                case _:
                    pass
            if changed:
                return self._growing.value

    @property
    def value(self) -> T:
        """The value, checked and whole. Raises KernelError before the iteration has ended."""
        return Extracted.of(self.response, called_tools=called_tools(self.response)).value  # type: ignore[no-any-return]

    @property
    def response(self) -> ChatResponse:
        """The whole response. Raises KernelError before the iteration has ended, and where the call failed."""
        try:
            return self._stream.response
        except KernelError:
            raise KernelError("the value is there only after the iteration has ended") from None


def called_tools(response: ChatResponse) -> bool:
    """True where there is no value, because the model called tools of the caller's."""
    return response.value is None and response.finish_reason == "tool_calls"


class OpenExtractStream(Generic[T]):
    """What `Kernel.stream_extract` returns: enter it to start the call, leave it to end it."""

    def __init__(
        self, make: Callable[[], OpenStream], *, schema: Callable[[], Any], callers_tools: bool = False
    ) -> None:
        self._make = make
        self._schema = schema
        self._callers_tools = callers_tools
        self._open: OpenStream | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> ExtractStream[T]:
        if self._open is not None:
            raise KernelError("a stream is entered once; call kernel.stream_extract again")
        self._open = self._make()
        stream = await self._open.__aenter__()
        return ExtractStream(stream, schema=self._schema(), callers_tools=self._callers_tools)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if self._open is not None:
            await self._open.__aexit__(kind, error, traceback)
        return False
