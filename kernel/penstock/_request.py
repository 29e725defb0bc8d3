"""The request: what is asked, of whom, and how; and the check that it can be sent at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec

from penstock._content import Image, Message, Text, ToolCall, ToolResult, message_from
from penstock._discreet import Discreet, type_name
from penstock._response import MOST_TOKENS
from penstock._tool import Tool
from penstock.errors import UnsendableRequestError

__all__ = ["ChatRequest", "OutputSchema", "ThinkingLevel", "check_request", "is_plain", "with_output"]

ThinkingLevel: TypeAlias = Literal["off", "low", "medium", "high"]
NO_TYPES = frozenset({str, bytes, int, float, bool, list, tuple, set})
"""An object of one of these says nothing of what is wanted."""
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What both OpenAI's and Anthropic's documentation accept."""


class OutputSchema(Discreet, frozen=True):
    """What the answer shall keep to. A schema alone is passed to the provider's native mode, and not checked here.
    An empty one asks for some JSON object, where the provider has a mode for that.

    With a `kind` (a type, or whatever else `Kernel.extract` takes) the answer is checked, mended and asked for again.
    `validators` stand behind it, as in `Kernel.extract`; without a kind, behind the schema.
    """

    shown = frozenset({"name", "strict"})

    schema: dict[str, Any] = {}
    name: str = "output"
    strict: bool = True
    kind: Any = None
    validators: Sequence[Any] = ()


class ChatRequest(Discreet, frozen=True):
    """One request, independent of who will answer it.

    `model` names a target, or `provider/model`. `extra` holds what only one provider understands, keyed by the
    provider's name or its wire family, merged into the body last: all but whether to stream. `tool_choice` is `auto`,
    `none`, `required` or the name of a tool. `thinking` is a level or a budget in tokens.
    """

    shown = frozenset({"model", "thinking", "tool_choice"})

    messages: tuple[Message, ...]
    model: str | None = None
    system: str | Message | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    thinking: ThinkingLevel | int | None = None
    output: OutputSchema | None = None
    extra: dict[str, dict[str, Any]] = {}

    if TYPE_CHECKING:  # what `__post_init__` accepts; the fields themselves always hold the types above

        def __init__(
            self,
            messages: str | Sequence[Message | ToolResult | Mapping[str, Any]],
            *,
            model: str | None = None,
            system: str | Message | None = None,
            max_tokens: int | None = None,
            temperature: float | None = None,
            top_p: float | None = None,
            stop: str | Sequence[str] = (),
            seed: int | None = None,
            tools: Sequence[Tool | Mapping[str, Any]] = (),
            tool_choice: str | Mapping[str, Any] | None = None,
            parallel_tool_calls: bool | None = None,
            thinking: ThinkingLevel | int | None = None,
            output: OutputSchema | Mapping[str, Any] | object = None,
            extra: Mapping[str, Mapping[str, Any]] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        put = msgspec.structs.force_setattr
        put(self, "messages", _messages(self.messages))
        if self.stop != ():
            put(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if self.tools != ():
            put(self, "tools", _tools(self.tools))
        if self.tool_choice is not None:
            put(self, "tool_choice", _tool_choice(self.tool_choice))
        if self.output is not None:
            put(self, "output", _output(self.output))
        put(self, "extra", {name: dict(fields) for name, fields in self.extra.items()} if self.extra else {})


def _messages(given: object) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (Message.user(given),)
    kind = type_name(given)
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise UnsendableRequestError(f"messages: {kind} given; give a str or a list of messages")
    return tuple(message_from(item, f"messages[{at}]") for at, item in enumerate(cast("Iterable[object]", given)))


def _tool_choice(given: object) -> str | None:
    match given:
        case None:
            return None
        case "any":
            return "required"
        case str(word):
            return word
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            return name
        case _:
            raise UnsendableRequestError("tool_choice: give 'auto', 'none', 'required' or the name of a tool")


def _tools(given: object) -> tuple[Tool, ...]:
    if given is None:
        return ()
    kind = type_name(given)
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise UnsendableRequestError(f"tools: {kind} given; give a list of tools")
    return tuple(Tool.of(tool, f"tools[{at}]") for at, tool in enumerate(cast("Iterable[object]", given)))


def _output(given: object) -> OutputSchema | None:
    if given is None or isinstance(given, OutputSchema):
        return given
    if isinstance(given, Mapping):
        schema = dict(cast("Mapping[str, Any]", given))
        title = schema.get("title")
        return OutputSchema(schema, title if isinstance(title, str) and title.isidentifier() else "output")
    if type(given) in NO_TYPES:
        raise UnsendableRequestError(
            f"output: {type(given).__name__} given; give a type, a JSON Schema (a dict) or an OutputSchema"
        )
    return OutputSchema({}, kind=given)


def with_output(request: ChatRequest, output: OutputSchema) -> ChatRequest:
    """The same request with another `output`. All else in it was looked at when it was made, and is not again."""
    made = copy(request)
    msgspec.structs.force_setattr(made, "output", output)
    return made


def is_plain(request: ChatRequest) -> bool:
    """True where nothing in the request can be wrong, nor hard to say: nearly always, and found out at little cost.

    Of the others `check_request` knows what is.
    """
    if (
        request.tools
        or request.extra
        or request.stop
        or request.output is not None
        or request.tool_choice is not None
        or request.thinking is not None
        or request.top_p is not None
        or not (request.model is None or (type(request.model) is str and request.model.isascii()))
        or not (request.seed is None or type(request.seed) is int)
        or not (request.system is None or (type(request.system) is str and request.system.isascii()))
        or not (request.max_tokens is None or _is_number_of_tokens(request.max_tokens))
        or not (request.temperature is None or _is_number(request.temperature))
    ):
        return False
    asks = False
    for message in request.messages:
        asks = asks or message.role != "system"
        if not message.content:
            return False
        for part in message.content:
            if type(part) is not Text or part.citations or type(part.text) is not str or not part.text.isascii():
                return False
    return asks


def _is_number(value: object) -> bool:
    return (type(value) is float or type(value) is int) and 0 <= value < math.inf


def _is_number_of_tokens(value: object) -> bool:
    return type(value) is int and 0 < value <= MOST_TOKENS


def check_request(request: ChatRequest) -> None:
    """Raises UnsendableRequestError with every reason why no provider could be sent this request."""
    wrong = [*_wrong_numbers(request), *_wrong_tools(request), *_wrong_messages(request)]
    if wrong:
        raise UnsendableRequestError("the request cannot be sent: " + "; ".join(wrong))


def _wrong_numbers(request: ChatRequest) -> Iterable[str]:
    if request.max_tokens is not None and request.max_tokens < 1:
        yield f"max_tokens is {request.max_tokens}; it must be at least 1"
    if request.max_tokens is not None and request.max_tokens > MOST_TOKENS:
        yield f"max_tokens is above {MOST_TOKENS}, which no model writes; leave it out for as much as the model may"
    if request.temperature is not None and not (math.isfinite(request.temperature) and request.temperature >= 0):
        yield f"temperature is {request.temperature}; it must be a finite number, 0 or more"
    if request.top_p is not None and not 0 <= request.top_p <= 1:
        yield f"top_p is {request.top_p}; it must lie between 0 and 1"
    if isinstance(request.thinking, int) and request.thinking < 1:
        yield f"thinking is {request.thinking}; a budget must be at least 1 token, or say 'off'"
    if isinstance(request.thinking, int) and request.thinking > MOST_TOKENS:
        yield f"thinking is above {MOST_TOKENS} tokens, which no model writes; give a smaller budget, or a level"
    if isinstance(request.thinking, str) and request.thinking not in ("off", "low", "medium", "high"):
        yield f"thinking is {request.thinking!r}; valid are off, low, medium, high or a number of tokens"
    if "" in request.stop:
        yield "stop holds an empty string"


def _wrong_tools(request: ChatRequest) -> Iterable[str]:
    names = [tool.name for tool in request.tools]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two tools are named {name!r}"
    choice = request.tool_choice
    if choice not in (None, "auto", "none", "required") and choice not in names and not request.extra:
        valid = ", ".join(["auto", "none", "required", *names])
        yield f"tool_choice is {choice!r}, which is no tool of the request; valid are {valid}"


def _wrong_messages(request: ChatRequest) -> Iterable[str]:
    if not any(message.role != "system" for message in request.messages):
        yield "messages is empty; give at least one user message"
    called: set[str] = set()
    for at, message in enumerate(request.messages):
        if not message.content:
            yield f"messages[{at}] ({message.role}) is empty"
        for part in message.content:
            match part:
                case ToolCall(id=id):
                    called.add(id)
                case ToolResult(call_id=call_id) if call_id not in called:
                    yield f"messages[{at}]: a tool result for {call_id!r}, but no earlier message holds that call"
                case Image():
                    yield from (f"messages[{at}]: {reason}" for reason in _wrong_image(part))
                case _:
                    pass


def _wrong_image(image: Image) -> Iterable[str]:
    if (image.url is None) == (image.data is None):
        yield "an image needs either a url or data"
    elif image.url is not None and not image.url.startswith(("https://", "http://", "gs://", "file-")):
        yield "an image's url must begin with https:// or http://; pass bytes as data with a media_type"
    elif image.data is not None and not image.data:
        yield "an image's data is empty"
    elif image.data is not None and image.media_type not in IMAGE_TYPES:
        yield f"an image of media_type {image.media_type!r}; valid are {', '.join(sorted(IMAGE_TYPES))}"
