"""Answers whose finish reason says that the provider broke them off: no answers, but failures of the target.

Not here: errors in envelopes of their own (`_errors`).
"""

from __future__ import annotations

from penstock.errors import OverloadedError, ProviderError, ServerError
from penstock.types import WireHead
from penstock_providers.openai_chat._errors import error_in_answer, request_id_of
from penstock_providers.openai_chat._wire import Answer

__all__ = ["broken_off"]

_BROKEN_OFF: dict[str, type[ProviderError]] = {
    "error": ServerError,  # Mistral, and OpenRouter for those behind it
    "insufficient_system_resource": OverloadedError,  # DeepSeek
}


def broken_off(answer: Answer, head: WireHead) -> ProviderError | None:
    """The failure that the first choice tells in the place of why it ended; None: it tells none."""
    for at, choice in enumerate(answer.choices or ()):
        if (at if choice.index is None else choice.index) != 0:
            continue
        if choice.error:
            return error_in_answer({"error": choice.error}, head)
        kind = _BROKEN_OFF.get((choice.finish_reason or "").lower())
        if kind is not None:
            says = f"{kind.says}: it broke the answer off (finish_reason {choice.finish_reason!r})"
            return kind(says, status=head.status, code=choice.finish_reason, request_id=request_id_of(head))
    return None
