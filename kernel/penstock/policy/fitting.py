"""A request made to fit one target: what it cannot take is left out and told, or the target is passed over.

Not here: what a codec makes of the request (`Provider.encode`), and who tells of it (the call).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, TypeAlias

import attrs
import msgspec
from msgspec import Struct

from penstock.policy.foreign_parts import Held, Taken, held_in, without_foreign_parts
from penstock.policy.tool_ids import remapped
from penstock.types import Capabilities, ChatRequest, ToolCallIdForm

__all__ = ["PARAMETERS", "Fitted", "Rule", "TooLong", "Unfit", "UnsupportedRules", "fit", "too_long"]

Rule: TypeAlias = Literal["next", "drop", "fail"]
"""`next`: the target is passed over. `drop`: the parameter is left out, and told. `fail`: the call ends."""

PARAMETERS: dict[str, str] = {
    "max_tokens": "so many max_tokens",
    "tools": "tools",
    "vision": "images",
    "schema": "an output schema",
    "thinking": "this thinking",
    "tool_choice": "this tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "temperature": "this temperature",
    "top_p": "this top_p",
    "stop": "stop sequences",
    "seed": "a seed",
}
"""What of a request a target may be unable to take, by the names that `on_unsupported` uses, in words for an error."""


NOTHING = frozenset[str]()


@attrs.frozen(kw_only=True)
class UnsupportedRules:
    """`on_unsupported`: what to do with a parameter that a target cannot take.

    What only shapes an answer is left out by default. Without tools, images or a schema it would be another answer:
    the next target is asked. To drop `max_tokens` is to ask for no more than the model can write.
    """

    max_tokens: Rule = "drop"
    tools: Rule = "next"
    vision: Rule = "next"
    schema: Rule = "next"
    thinking: Rule = "drop"
    tool_choice: Rule = "drop"
    parallel_tool_calls: Rule = "drop"
    temperature: Rule = "drop"
    top_p: Rule = "drop"
    stop: Rule = "drop"
    seed: Rule = "drop"

    @classmethod
    def all(cls, rule: Rule) -> UnsupportedRules:
        """One rule for everything."""
        everything: dict[str, Rule] = dict.fromkeys(PARAMETERS, rule)
        return cls(**everything)

    def of(self, parameter: str) -> Rule:
        """The rule for a parameter."""
        rule: Rule = getattr(self, parameter)
        return rule


class Fitted(Struct, frozen=True, gc=False):
    """The request as the target takes it.

    `dropped` names parameters, in the order of `PARAMETERS`; `max_tokens` where it was lowered. `left_out` has the kind
    of each part that was left out because it is bound to another wire family or not taken: `thinking`, `provider_part`,
    `citations`, `image`, `tool_call`, `tool_result`. `adapted` is what the codec says in other words
    (`Provider.adapted`). New ids of tool calls change nothing that anyone must know, and are not told.
    """

    request: ChatRequest
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()


@attrs.frozen
class Unfit:
    """The target cannot take the request, and `rule` says that it is passed over or ends the call for it."""

    parameters: tuple[str, ...]
    rule: Literal["next", "fail"]
    says: str
    """A sentence without its subject, which is the target."""


def fit(
    request: ChatRequest,
    capabilities: Capabilities,
    family: str,
    provider: str,
    rules: UnsupportedRules,
    *,
    model: str = "",
    unsupported: Callable[[ChatRequest], Collection[str]] | None = None,
) -> Fitted | Unfit:
    """The request made to fit a model of that wire `family` behind the provider of that name.

    `provider` and `model` are compared with who made thinking and other parts that are bound to them. `unsupported` is
    asked, with the request as it is by then, what else the target cannot take of it.
    Laws: what fits is returned as it is; the result depends on the arguments alone; what is fitted fits, and fitting
    it again changes nothing.
    """
    held = held_in(request)
    asked = _asked(request, held)
    refused = [name for name in asked if not _takes(capabilities, request, name)]
    unfit = _judged(refused, rules)
    if unfit is not None:
        return unfit
    taken = Taken.by(capabilities, family, provider, model)
    fitted, dropped = _without(request, refused)
    fitted, left_out = _with_parts_taken(fitted, held, taken, capabilities.tool_call_id, dropped)
    # What was dropped may leave room for something else that is refused: a target's own thinking, say.
    while unsupported is not None and (left := [name for name in asked if name not in dropped]):
        said = unsupported(fitted)
        more = [name for name in left if name in said]
        if not more:
            break
        unfit = _judged(more, rules)
        if unfit is not None:
            return unfit
        fitted, also = _without(fitted, more)
        dropped |= also
        if also & {"tools", "vision"}:
            fitted, rest = _with_parts_taken(fitted, held_in(fitted), taken, capabilities.tool_call_id, dropped)
            left_out += rest
    if fitted is not request and all(message.role == "system" for message in fitted.messages):
        missing = tuple(name for name in PARAMETERS if name in dropped)
        return Unfit(missing, "next", "could be sent nothing of the conversation")
    fitted = _with_own_extra(fitted, family, provider)
    return Fitted(fitted, tuple(name for name in PARAMETERS if name in dropped) if dropped else (), left_out)


class TooLong(Struct, frozen=True):
    """A request for a longer answer than the target's model can write."""

    lowered: ChatRequest
    """For as much as it can."""
    asked: int
    """Tokens of one answer."""
    most: int

    def judged(self, rules: UnsupportedRules) -> Unfit | None:
        """None where it may be asked for less."""
        rule = rules.max_tokens
        if rule == "drop":
            return None
        says = f"cannot write {self.asked} tokens, its model writes {self.most} at most (max_tokens)"
        return Unfit(("max_tokens",), rule, says)


def too_long(
    request: ChatRequest, most: int, others: Iterable[int | None], written: Callable[[ChatRequest], int | None]
) -> TooLong | None:
    """Whether the target is asked for more than the `most` tokens that its model can write; None: it is not.

    Vendors answer 400 to more, and that would end the call at a fallback that could answer. Only where one of the
    `others` of its route (None: not known) can write as much: what none of them can is a mistake, for the provider or a
    budget to tell. `written` tells how much a request allows on the wire, all its answers together (None: not known):
    the target's own parameters may ask for more, and what `extra` asks for is nobody's to change.
    """
    lowered = msgspec.structs.replace(request, max_tokens=most)
    allowed, allowed_then = written(request), written(lowered)
    asked = request.max_tokens
    if allowed is not None and allowed_then:
        asked = allowed * most // allowed_then
    if asked is None or asked <= most or not any(other is None or asked <= other for other in others):
        return None
    return TooLong(lowered, asked, most)


def _asked(request: ChatRequest, held: Held) -> list[str]:
    """What the request asks for, in the order of `PARAMETERS`.

    A temperature or top_p of 1 is what every model does by itself.
    """
    asks = {
        "tools": request.tools or held.call_ids,
        "vision": held.images,
        "schema": request.output is not None,
        "thinking": request.thinking is not None,
        "tool_choice": request.tool_choice is not None,
        "parallel_tool_calls": request.parallel_tool_calls is not None,
        "temperature": request.temperature not in (None, 1),
        "top_p": request.top_p not in (None, 1),
        "stop": request.stop,
        "seed": request.seed is not None,
    }
    return [name for name, asked in asks.items() if asked]


def _takes(capabilities: Capabilities, request: ChatRequest, name: str) -> bool:
    match name:
        case "schema":
            if request.output is not None and not request.output.schema:
                return capabilities.json_object
            return capabilities.json_schema is not False
        case "seed":
            return capabilities.seed is not False
        case "temperature":
            highest = capabilities.highest_temperature
            return capabilities.temperature and (highest is None or (request.temperature or 0.0) <= highest)
        case "thinking":
            return capabilities.thinking or request.thinking == "off"
        case "tool_choice":
            return True  # with the tools, or not at all
        case _:
            return bool(getattr(capabilities, name))


def _judged(refused: Collection[str], rules: UnsupportedRules) -> Unfit | None:
    """Who is passed over fails nothing: `next` goes before `fail`."""
    for rule in ("next", "fail"):
        names = tuple(name for name in refused if rules.of(name) == rule)
        if names:
            return Unfit(names, rule, _says(names))
    return None


def _says(parameters: Collection[str]) -> str:
    return f"cannot take {', '.join(PARAMETERS[name] for name in parameters)} ({', '.join(parameters)})"


def _without(request: ChatRequest, names: Collection[str]) -> tuple[ChatRequest, frozenset[str]]:
    """The request without these parameters, and what went with them. Parts of messages are not touched here."""
    if not names:
        return request, NOTHING
    dropped = set(names)
    if "tools" in dropped:
        # They say how tools are used.
        dropped |= {name for name in ("tool_choice", "parallel_tool_calls") if getattr(request, name) is not None}
    fields: dict[str, Any] = {}
    for name in dropped - {"vision"}:
        match name:
            case "schema":
                fields["output"] = None
            case "tools" | "stop":
                fields[name] = ()
            case _:
                fields[name] = None
    return (msgspec.structs.replace(request, **fields) if fields else request), frozenset(dropped)


def _with_parts_taken(
    request: ChatRequest, held: Held, taken: Taken, form: ToolCallIdForm | None, dropped: Collection[str]
) -> tuple[ChatRequest, tuple[str, ...]]:
    ids = remapped(held.call_ids, form) if form is not None and held.call_ids else {}
    if not (ids or held.bound or (held.images and "vision" in dropped) or (held.call_ids and "tools" in dropped)):
        return request, ()
    return without_foreign_parts(
        request, attrs.evolve(taken, images="vision" not in dropped, tools="tools" not in dropped, ids=ids)
    )


def _with_own_extra(request: ChatRequest, family: str, provider: str) -> ChatRequest:
    """`extra` is keyed by provider or family: what is meant for others goes to nobody else, and changes no key."""
    if not request.extra:
        return request
    own = {name: fields for name, fields in request.extra.items() if name in (family, provider)}
    return request if len(own) == len(request.extra) else msgspec.structs.replace(request, extra=own)
