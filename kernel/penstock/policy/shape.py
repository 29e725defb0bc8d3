"""What a request asks for beside its text: what many requests have in common, so that answers to it can be remembered.

Not here: who remembers what (`_live_target`, `_standing`).
"""

from __future__ import annotations

from typing import TypeAlias

from penstock.types import ChatRequest, Text

__all__ = ["Shape", "shape_of"]

Shape: TypeAlias = tuple[object, ...]
"""Equal where two requests differ in their text alone."""

MOST_MESSAGES = 32
"""Longer conversations have no shape: what is remembered shall stay small, and beside them its price is nothing."""


def shape_of(request: ChatRequest) -> Shape | None:
    """The shape; None where the request is more than text with the plainest of parameters.

    Everything whose value could be anything (tools, schemas, `extra`), or that depends on what was said before
    (thinking), has none: what is asked about those is found out each time.
    """
    if (
        request.tools
        or request.extra
        or request.output is not None
        or request.thinking is not None
        or request.tool_choice is not None
        or request.parallel_tool_calls is not None
        or request.stop
        or not (request.system is None or isinstance(request.system, str))
        or len(request.messages) > MOST_MESSAGES
    ):
        return None
    roles: list[object] = []
    for message in request.messages:
        for part in message.content:
            if type(part) is not Text or part.citations or part.cache:
                return None
        roles.append(message.role)
    return (
        request.model,
        request.max_tokens,
        request.temperature,
        request.top_p,
        request.seed,
        request.system is None,
        *roles,
    )
