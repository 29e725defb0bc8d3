"""A request's wish to think, or not to, in the fields of a dialect.

Not here: what the fields are called (`dialects`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.types import ChatRequest
from penstock_providers.openai_chat._foreign import fields_of, is_object
from penstock_providers.openai_chat._models import Model
from penstock_providers.openai_chat.dialects import DIALECTS, GENERIC, Dialect, ThinkingForm

__all__ = ["must_not_think", "own_thinking", "thinking_fields", "thinks_always"]

_IDLE = frozenset({"none", "minimal"})
"""Levels at which a model begins to answer as soon as one that does not think."""
_FORMS = tuple(row.thinking for row in (GENERIC, *DIALECTS.values()))

# Tokens to think with, as the level that stands in for them.
_LOW_BUDGET = 2_048
_MEDIUM_BUDGET = 8_192


def thinking_fields(request: ChatRequest, model: Model, dialect: Dialect) -> Mapping[str, Any]:
    """Fields of the body; none where nothing was asked, or the dialect has no way to ask it of the model.

    Of a model that is not known nobody knows its least level: what switches thinking off differs by server.
    """
    form = dialect.thinking
    wish = "off" if must_not_think(request, dialect) else request.thinking
    if wish is None or (model.known and not model.reasoning):
        return {}
    if wish == "off":
        if form.off is not None:
            return form.off
        return {} if model.effort_off is None else _with({}, form.level, model.effort_off)
    if isinstance(wish, int) and form.budget:
        return _with(form.on, form.budget, wish)
    level = wish if isinstance(wish, str) else _level(wish)
    return _with(form.on, form.level, form.words.get(level, level))


def thinks_always(name: str, dialect: Dialect) -> bool | None:
    """Not None where the model's thinking cannot be switched off; then, whether some tool can be demanded of it."""
    return next((demanded for begins, demanded in dialect.thinks_always.items() if name.startswith(begins)), None)


def must_not_think(request: ChatRequest, dialect: Dialect) -> bool:
    """True where a tool is demanded of a provider that demands none of a model that thinks."""
    return request.tool_choice not in (None, "auto", "none") and not dialect.forces_while_thinking


def own_thinking(params: Mapping[str, Any], dialect: Dialect) -> bool | None:
    """Whether fields of a body ask to think, or not to. None: they say nothing of it."""
    told = (_told(params, form) for form in (dialect.thinking, *_FORMS))
    return next((wish for wish in told if wish is not None), None)


def _told(params: Mapping[str, Any], form: ThinkingForm) -> bool | None:
    off = form.off or {}
    if off and _holds(params, off):
        return False
    match _found(params, form.budget):
        case int(tokens) if not isinstance(tokens, bool):
            return tokens != 0
        case _:
            pass
    match _found(params, form.level):
        case str(level):
            return level not in _IDLE
        case _:
            pass
    # A switch has two ends, of which a form may name only one.
    ons = (form.on, _turned(off))
    return True if any(on and on != off and _holds(params, on) for on in ons) else None


def _found(fields: object, path: tuple[str, ...]) -> object:
    """What the path leads to; None where there is nothing."""
    for name in path:
        fields = fields_of(fields).get(name)
    return fields if path else None


def _holds(fields: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """True where the fields have all that is wanted."""
    return all(
        _holds(fields_of(fields.get(name)), fields_of(value)) if is_object(value) else fields.get(name) == value
        for name, value in wanted.items()
    )


def _turned(off: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with every switch turned on."""
    return {
        name: _turned(fields_of(value)) if is_object(value) else True if value is False else value
        for name, value in off.items()
    }


def _level(tokens: int) -> str:
    return "low" if tokens <= _LOW_BUDGET else "medium" if tokens <= _MEDIUM_BUDGET else "high"


def _with(fields: Mapping[str, Any], path: tuple[str, ...], value: str | int) -> dict[str, Any]:
    """The fields, with the value in the one that the path leads to; as they are where there is no such field."""
    if not path:
        return dict(fields)
    first, *rest = path
    return {**fields, first: _with(fields_of(fields.get(first)), tuple(rest), value) if rest else value}
