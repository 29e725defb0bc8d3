"""What messages are made of: parts, and the message that holds them.

Not here: how a provider spells them on the wire (the codecs), and the request around them (`_request`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec

from penstock._discreet import Discreet, type_name
from penstock.errors import UnsendableRequestError

__all__ = [
    "CacheMark",
    "Image",
    "Message",
    "Part",
    "ProviderPart",
    "Refusal",
    "Role",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolResult",
]

Role = Literal["system", "user", "assistant", "tool"]
CacheMark = Literal["5m", "1h"]
"""How long the provider shall keep the prompt up to here in its own cache."""


class Text(Discreet, frozen=True, tag="text", gc=False):
    """Plain text. `cache` marks the end of a prefix for the provider's own prompt cache."""

    text: str
    cache: CacheMark | None = None
    citations: tuple[dict[str, Any], ...] = ()
    """What the provider said this text rests on, as it spelled it."""


class Image(Discreet, frozen=True, tag="image", kw_only=True):
    """An image by `url`, or by its bytes (`data`) with their `media_type`."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    detail: str | None = None
    """`low`, `high` or `auto`, where the provider offers the choice."""
    cache: CacheMark | None = None


class Thinking(Discreet, frozen=True, tag="thinking"):
    """Reasoning the model showed. It is bound to the `family` that made it and goes back there unchanged."""

    text: str
    signature: str | None = None
    redacted: str | None = None
    """Encrypted reasoning in place of text."""
    family: str = ""
    details: tuple[dict[str, Any], ...] = ()
    """Structured reasoning as the provider spelled it (OpenRouter's `reasoning_details`)."""
    model: str = ""
    """The model that made it, as its target names it: signatures are bound to it. Set by the kernel; empty: unknown."""
    provider: str = ""
    """The provider that showed it, by its configured name. Set by the kernel; empty: unknown."""


class ToolCall(Discreet, frozen=True, tag="tool_call"):
    """A call the model asks for. `arguments` is `{}` where `raw_arguments` is no JSON object: see `malformed`."""

    shown = frozenset({"id", "name", "kind"})

    id: str
    name: str
    arguments: dict[str, Any] = {}
    raw_arguments: str = ""
    kind: Literal["function", "custom"] = "function"
    """A custom tool takes free text: it stands in `raw_arguments`."""
    cache: CacheMark | None = None

    @classmethod
    def parse(cls, id: str, name: str, raw: str, kind: Literal["function", "custom"] = "function") -> ToolCall:
        """Reads the arguments as the wire carries them; an empty string means none."""
        return cls(id, name, _json_object(raw) or {}, raw, kind)

    def __post_init__(self) -> None:
        if self.raw_arguments and not self.arguments and self.kind == "function":
            msgspec.structs.force_setattr(self, "arguments", _json_object(self.raw_arguments) or {})

    @property
    def malformed(self) -> bool:
        """True where the model wrote arguments that are not a JSON object; nothing and `null` mean none."""
        empty = self.kind != "function" or self.raw_arguments.strip() in ("", "null")
        return not empty and _json_object(self.raw_arguments) is None

    def wire_arguments(self) -> str:
        """The arguments as JSON text: what the model wrote, or `arguments` encoded."""
        return self.raw_arguments or msgspec.json.encode(self.arguments).decode()


class Refusal(Discreet, frozen=True, tag="refusal"):
    """The model's own words on why it will not answer."""

    text: str


class ProviderPart(Discreet, frozen=True, tag="provider_part"):
    """A block that only its own wire family understands (server tools, citations): kept, and sent back unchanged."""

    family: str
    data: dict[str, Any]
    provider: str = ""
    """The provider that made it, by its configured name. Set by the kernel; empty: unknown."""


ResultContent: TypeAlias = tuple[Text | Image, ...]


class ToolResult(Discreet, frozen=True, tag="tool_result"):
    """What a tool answered. Stands in a message, or directly in a request's list of messages."""

    shown = frozenset({"call_id"})

    call_id: str
    content: ResultContent = ()
    is_error: bool = False
    cache: CacheMark | None = None

    if TYPE_CHECKING:  # what `__post_init__` accepts; the field itself always holds a tuple of parts

        def __init__(
            self,
            call_id: str,
            content: str | Iterable[Text | Image | Mapping[str, Any]] = (),
            is_error: bool = False,  # noqa: FBT001, FBT002 - the contract's spelling
            cache: CacheMark | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        parts = content_parts(self.content, "tool result")
        for part in parts:
            if not isinstance(part, Text | Image):
                raise UnsendableRequestError(f"a tool result holds text and images, not {type(part).__name__}")
        msgspec.structs.force_setattr(self, "content", parts)

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


Part: TypeAlias = Text | Image | Thinking | ToolCall | ToolResult | Refusal | ProviderPart


class Message(Discreet, frozen=True, gc=False):
    """One turn. Build it with `Message.system`, `.user`, `.assistant`, or pass a Chat Completions dict instead."""

    shown = frozenset({"role"})

    role: Role
    content: tuple[Part, ...]
    name: str | None = None

    if TYPE_CHECKING:  # what `__post_init__` accepts; the field itself always holds a tuple of parts

        def __init__(
            self, role: Role, content: str | Iterable[Part | Mapping[str, Any]], name: str | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        content: object = self.content
        if type(content) is tuple and len(content) == 1 and type(content[0]) is Text:
            return  # as nearly all of them are: some are made for every call
        msgspec.structs.force_setattr(self, "content", content_parts(content, f"{self.role} message"))

    @classmethod
    def system(cls, content: str | Iterable[Part], *, name: str | None = None) -> Message:
        """Instructions to the model."""
        return cls("system", content, name)

    @classmethod
    def user(cls, content: str | Iterable[Part], *, name: str | None = None) -> Message:
        """What the user says, with images and tool results where there are any."""
        return cls("user", content, name)

    @classmethod
    def assistant(cls, content: str | Iterable[Part], *, name: str | None = None) -> Message:
        """What the model said; a last one is a prefix to go on from, where the target accepts prefill."""
        return cls("assistant", content, name)

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls in this message, in order."""
        return tuple(part for part in self.content if isinstance(part, ToolCall))


def content_parts(content: object, where: str) -> tuple[Part, ...]:
    """Text or a list of parts (or Chat Completions dicts) as parts. Raises UnsendableRequestError naming `where`."""
    kind = type_name(content)
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, tuple) and all(isinstance(part, Part) for part in cast("tuple[object, ...]", content)):
        return cast("tuple[Part, ...]", content)
    if isinstance(content, Part):
        return (content,)
    if not isinstance(content, Iterable) or isinstance(content, bytes | Mapping):
        raise UnsendableRequestError(f"{where}: content is {kind}; give a str or a list of parts")
    return tuple(_part(item, f"{where}, part {at}") for at, item in enumerate(cast("Iterable[object]", content)))


def _part(item: object, where: str) -> Part:
    if isinstance(item, Part):
        return item
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, Mapping):
        return _part_from_dict(cast("Mapping[str, Any]", item), where)
    raise UnsendableRequestError(
        f"{where}: {type(item).__name__} is not a part; give Text, Image, ToolCall, ToolResult"
    )


def _part_from_dict(item: Mapping[str, Any], where: str) -> Part:
    match item:
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "refusal", "refusal": str(text)}:
            return Refusal(text)
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            return image_from_url(url, cast("str | None", rest.get("detail")), where)
        case {"type": str(kind)}:
            raise UnsendableRequestError(
                f"{where}: no part of type {kind!r} with this shape; valid are text, image_url and refusal,"
                " or a ProviderPart for what only one wire family understands"
            )
        case _:
            raise UnsendableRequestError(f"{where}: a part needs a 'type'; valid are text, image_url and refusal")


def image_from_url(url: str, detail: str | None, where: str) -> Image:
    """An image from a URL; `data:` URLs are decoded so that every provider can be sent them."""
    if not url.startswith("data:"):
        return Image(url=url, detail=detail)
    head, comma, payload = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    if not comma or encoding != "base64" or not media_type:
        raise UnsendableRequestError(f"{where}: a data: URL must read data:<media type>;base64,<data>")
    try:
        data = msgspec.convert(payload, bytes)
    except msgspec.ValidationError as error:
        raise UnsendableRequestError(f"{where}: the data: URL does not hold valid base64") from error
    return Image(data=data, media_type=media_type, detail=detail)


def message_from(item: object, where: str) -> Message:
    """A Message from a Message, a bare ToolResult, or a Chat Completions dict."""
    if isinstance(item, Message):
        return item
    if isinstance(item, ToolResult):
        return Message("tool", (item,))
    if isinstance(item, Mapping):
        return _message_from_dict(cast("Mapping[str, Any]", item), where)
    raise UnsendableRequestError(
        f"{where}: {type(item).__name__} is not a message; give a Message or a dict with a role"
    )


def _message_from_dict(item: Mapping[str, Any], where: str) -> Message:
    role = item.get("role")
    content = item.get("content")
    parts = () if content is None else content_parts(content, where)
    name = item.get("name")
    match role:
        case "system" | "developer":
            return Message("system", parts, name)
        case "user":
            return Message("user", parts, name)
        case "assistant":
            refusal = (Refusal(item["refusal"]),) if item.get("refusal") else ()
            calls = tuple(_call_from_dict(call, where) for call in item.get("tool_calls") or ())
            return Message("assistant", (*parts, *refusal, *calls), name)
        case "tool":
            call_id = item.get("tool_call_id")
            if not isinstance(call_id, str):
                raise UnsendableRequestError(f"{where}: a tool message needs its tool_call_id")
            return Message("tool", (ToolResult(call_id, cast("ResultContent", parts)),), name)
        case _:
            raise UnsendableRequestError(
                f"{where}: role is {role!r}; valid are system, developer, user, assistant, tool"
            )


def _call_from_dict(item: object, where: str) -> ToolCall:
    match item:
        case {"id": str(id), "function": {"name": str(name), "arguments": str(raw)}}:
            return ToolCall.parse(id, name, raw)
        case {"id": str(id), "custom": {"name": str(name), "input": str(raw)}}:
            return ToolCall.parse(id, name, raw, "custom")
        case _:
            raise UnsendableRequestError(
                f"{where}: a tool call needs id, function.name and function.arguments (a string)"
            )


def _json_object(raw: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
