"""How servers spell their errors: the words and phrases that tell one kind from another.

Words are the body's `code`, `type` and Azure's inner code, and what OpenRouter says in `metadata` (`error_type:...`,
`reason:...`, and the names of fields that only one kind of error has); phrases are pieces of the sentence, for servers
whose words say nothing. All in lower case; those that were seen, of OpenAI, Azure and servers that imitate them.

Not here: the order in which they are looked for, and what a status alone says (`_errors`).
"""

from __future__ import annotations

import re

__all__ = [
    "CONTEXT_PHRASES",
    "CONTEXT_WORDS",
    "FILTER_PHRASES",
    "FILTER_WORDS",
    "GENERATION_PHRASES",
    "GENERATION_WORDS",
    "HELD_WORDS",
    "KEY_PHRASES",
    "KEY_WORDS",
    "MODEL_PHRASES",
    "MODEL_WORDS",
    "OVERLOAD_WORDS",
    "PERMISSION_WORDS",
    "QUOTA_PHRASES",
    "QUOTA_WORDS",
    "RATE_WORDS",
    "REFUSAL_WORDS",
    "REQUEST_WORDS",
    "TOO_DEAR_PHRASES",
    "TOO_DEAR_WORDS",
]

# OpenRouter's `invalid_prompt` is a message of the wrong form; only where a server says it as its own is it a filter.
FILTER_WORDS = re.compile(
    r"content_filter|responsibleaipolicyviolation|content_policy_violation|moderation_blocked|^invalid_prompt$"
    r"|data_?inspection_?failed|sensitive_words_detected|^flagged_input:|^patterns:"
)
# An account may be "flagged" too, or "violate guidelines": here it is always what was said.
FILTER_PHRASES = re.compile(
    r"(?:input|prompt) was flagged|content violates usage guidelines|safety_check_type|content exists risk"
    r"|unsafe or sensitive content|不安全或敏感内容|prompt injection patterns detected"
)
REFUSAL_WORDS = re.compile(r"^error_type:refusal$")

# Groq: the model wrote no call, or no JSON, that fits what was asked for.
GENERATION_WORDS = re.compile(r"tool_use_failed|json_validate_failed")
GENERATION_PHRASES = re.compile(r"see 'failed_generation'")

CONTEXT_WORDS = re.compile(
    r"context_length_exceeded|exceed_context_size|context_window|tokens_limit_reached|string_above_max_length|too_many_tokens"
)
CONTEXT_PHRASES = re.compile(
    r"maximum context length|context length (?:exceeded|of only|limit)|context (?:window|overflow)"
    r"|exceeds? the (?:available )?context|exceed(?:s|ed)? (?:the )?(?:max(?:imum)? |model'?s? )?context"
    r"|prompt (?:is )?too long|input (?:is )?too long|maximum prompt length|too large for model|input token count"
    r"|longer than the (?:maximum )?(?:model|context)|exceeded model token limit|range of input length"
    r"|reduce the length of (?:the |your )?(?:messages|prompt|input)|`?inputs`? tokens \+"
)

QUOTA_WORDS = re.compile(
    r"quota|billing|insufficient_(?:balance|credit|fund)|spend_?limit|credit|arrearage|budget_exceeded"
)
# What a key or a team may spend: OpenRouter refuses beyond it with a 403, LiteLLM's proxy with a 400 or a 429.
QUOTA_PHRASES = re.compile(
    r"(?:key|budget) limit exceeded|budget has been exceeded|exceededbudget:|exceeded budget for "
    r"|exceeded your current quota|insufficient (?:account )?(?:balance|quota|credit|funds)|insufficient_quota"
    r"|credit balance is too low|(?:billing|spend(?:ing)?|monthly|credit) (?:hard )?limit|out of credits|more credits"
    r"|n[o']t have any credits"
    r"|payment required|not active, please check your billing"
)
# OpenRouter: what runs now holds the credit, and gives back what it does not need.
HELD_WORDS = re.compile(r"^reason:in_flight_budget_exhausted$")
# OpenRouter asks before it begins whether the account could pay the longest answer. With nothing left, none is paid.
# LiteLLM's proxy says what it thinks that one request costs.
TOO_DEAR_WORDS = re.compile(r"^reason:weight_exceeds_budget$")
TOO_DEAR_PHRASES = re.compile(
    r"can only afford [1-9]|prompt tokens limit exceeded: \d+ > [1-9]|estimated request cost:"
)

OVERLOAD_WORDS = re.compile(r"overloaded|slow_down|capacity_exceeded")
RATE_WORDS = re.compile(r"rate_?limit|too_?many_?requests|resource_?exhausted|^requests$|^tokens$")

KEY_WORDS = re.compile(r"(?:invalid|incorrect|missing)_api_key|authentication|unauthorized|api_key_invalid")
KEY_PHRASES = re.compile(
    r"(?:incorrect|invalid|wrong|no|missing) (?:api[ _-]?key|authentication|credential)"
    r"|api[ _-]?key (?:is )?(?:not valid|invalid|incorrect|expired)"
)

# A model that this key may not use is none for it: others it may.
MODEL_WORDS = re.compile(
    r"model_?not_?found|deployment_?not_?found|invalid_model|unknown_model|model_permission_blocked"
)
MODEL_PHRASES = re.compile(
    r"model not (?:found|exist)|not a valid model|invalid model:"
    r"|model [`'][^`']{1,200}[`'] (?:does not exist|not found|has been deprecated)"
    r"|access to model \S{1,200} is restricted|gated (?:repo|model)\b|not allowed to sample from this model"
    r"|do(?:es)? not have access to (?:the |this )?model\b"
)
PERMISSION_WORDS = re.compile(r"permission|forbidden|access_?denied|unsupported_country")
REQUEST_WORDS = re.compile(
    r"invalid_?request|invalid_?argument|bad_?request|unsupported_(?:parameter|value)|not_?supported"
)
