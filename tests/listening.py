"""A codec that knows what it was asked: for tests of how many targets of a route are priced."""

from __future__ import annotations

from penstock.types import ChatRequest, Target
from penstock_providers.openai_chat import OpenAIChat

__all__ = ["Listening"]


class Listening(OpenAIChat):
    """Knows which targets it was asked for the bound of a request."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        self.asked.append(target.name)
        return super().input_bound(request, target)

    # It counts as the class that it is made from.
    kind = OpenAIChat.kind
    text_kind = OpenAIChat.text_kind
