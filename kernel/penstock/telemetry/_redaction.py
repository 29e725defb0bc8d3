"""What plugins make of a text before it goes into a span. Not here: what is captured (`_content`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from penstock._foreign import let_through

__all__ = ["NOT_CAPTURED", "redaction"]

logger = logging.getLogger("penstock")

NOT_CAPTURED = "[not captured: what redacts it failed]"


def redaction(redactors: Sequence[Callable[[str], str]]) -> Callable[[str], str]:
    """All of them, one after the other. Where one fails, nothing of the text is told: it would go out as it was."""
    if not redactors:
        return lambda text: text
    told: set[str] = set()

    def redact(text: str) -> str:
        for redactor in redactors:
            made: object = None
            try:
                made = redactor(text)
            except BaseException as bug:  # noqa: BLE001 - foreign code: its words could quote the text
                let_through(bug)
                made = bug
            if not isinstance(made, str):
                kind = type(made).__name__
                if kind not in told:
                    told.add(kind)
                    logger.error("a penstock_redact gave %s in place of a text: nothing of it is captured", kind)
                return NOT_CAPTURED
            text = made
        return text

    return redact
