"""A plugin's tokenizer for one model, watched: one that breaks is not asked again, and bytes count in its place.

Not here: which plugin knows the model (`_discovery`), and what is counted (codecs, `policy.meter`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from penstock._foreign import interruptible, let_through

__all__ = ["TokenCounter"]

logger = logging.getLogger("penstock")


class TokenCounter:
    """Counts the tokens of a text. None: the tokenizer has broken, and nothing is known."""

    def __init__(self, plugin: str, count: Callable[[str], int]) -> None:
        self._plugin = plugin
        self._count: Callable[[str], int] | None = count

    @interruptible
    def __call__(self, text: str) -> int | None:
        """The tokens of a text. Never raises."""
        if self._count is None or not text:
            return 0 if not text else None
        told: object = None
        try:
            told = self._count(text)
        except BaseException as bug:  # noqa: BLE001 - foreign code: its words could quote the text
            let_through(bug)
            told = bug
        # No token is shorter than a byte. One of surrogates only, which no wire carries, has none.
        if isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= len(text.encode(errors="ignore")):
            return told
        self._count = None
        logger.error(
            "%s: its tokenizer returned %s and is not asked any more; bytes count instead", self._plugin, _named(told)
        )
        return None


def _named(told: object) -> str:
    if isinstance(told, BaseException):
        return f"nothing: {type(told).__name__}"
    return "a figure that no text can have" if isinstance(told, int) else f"{type(told).__name__} in place of a number"
