"""The plugin of each known dialect, by its name: what penstock's entry points lead to."""

from __future__ import annotations

from penstock_providers.openai_chat._plugin import DialectPlugin
from penstock_providers.openai_chat.dialects import DIALECTS

__all__ = ["__getattr__"]

_MADE = {name: DialectPlugin(dialect) for name, dialect in DIALECTS.items()}


def __getattr__(name: str) -> DialectPlugin:
    try:
        return _MADE[name]
    except KeyError:
        raise AttributeError(f"there is no dialect named {name!r}") from None
