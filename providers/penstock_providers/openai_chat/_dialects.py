"""How servers that speak this wire differ in what they take of a conversation.

Not here: parameters (`_encode`), and where a server is (`_options`).
"""

from __future__ import annotations

import attrs

from penstock_providers.openai_chat._models import is_mistral
from penstock_providers.openai_chat._options import OpenAIChatOptions

__all__ = ["Dialect", "dialect_of"]


@attrs.frozen(kw_only=True)
class Dialect:
    """What one server takes."""

    reasoning: bool
    """Reasoning of this wire goes back with the message it belongs to."""
    wants_reasoning: bool = False
    """DeepSeek: "Missing `reasoning_content` field in the assistant message". Kimi as well, and it wants more than "".
    A conversation that comes from elsewhere has none, so a blank stands for it."""
    user_after_tool: bool = True
    """Mistral's models, wherever they run: "Unexpected role 'user' after role 'tool'". A word of the assistant's has to
    stand between."""
    names: bool = True
    """Who speaks may have a name. Mistral's server answers 422 to fields it does not know."""


def dialect_of(model: str, options: OpenAIChatOptions) -> Dialect:
    """The dialect of the server for that model."""
    return Dialect(
        reasoning=options.sends_reasoning,
        wants_reasoning=options.wants_reasoning,
        user_after_tool=not (options.is_mistral or is_mistral(model)),
        names=not options.is_mistral,
    )
