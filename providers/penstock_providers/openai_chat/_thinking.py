"""A request's wish to think, or not to, in the fields of a dialect.

Not here: what the fields are called (`dialects`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.types import ChatRequest
from penstock_providers.openai_chat._models import Model
from penstock_providers.openai_chat.dialects import Dialect

__all__ = ["must_not_think", "thinking_fields", "thinks_always"]

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
        return {} if model.effort_off is None else _at(form.level, model.effort_off)
    if isinstance(wish, int) and form.budget:
        return {**form.on, **_at(form.budget, wish)}
    level = wish if isinstance(wish, str) else _level(wish)
    return {**form.on, **_at(form.level, form.words.get(level, level))}


def thinks_always(name: str, dialect: Dialect) -> bool | None:
    """Not None where the model's thinking cannot be switched off; then, whether some tool can be demanded of it."""
    return next((demanded for begins, demanded in dialect.thinks_always.items() if name.startswith(begins)), None)


def must_not_think(request: ChatRequest, dialect: Dialect) -> bool:
    """True where a tool is demanded of a provider that demands none of a model that thinks."""
    return request.tool_choice not in (None, "auto", "none") and not dialect.forces_while_thinking


def _level(tokens: int) -> str:
    return "low" if tokens <= _LOW_BUDGET else "medium" if tokens <= _MEDIUM_BUDGET else "high"


def _at(path: tuple[str, ...], value: str | int) -> dict[str, Any]:
    """The value in the field that the path leads to; nothing where there is no such field."""
    if not path:
        return {}
    field: Any = value
    for name in reversed(path[1:]):
        field = {name: field}
    return {path[0]: field}
