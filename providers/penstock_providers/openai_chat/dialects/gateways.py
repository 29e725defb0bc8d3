"""Rows of gateways, which serve models of many vendors.

Not here: what the fields mean (`row`).
"""

from __future__ import annotations

from penstock_providers.openai_chat.dialects.row import Dialect, Seen, ThinkingForm

__all__ = ["HUGGINGFACE", "OPENROUTER", "TOGETHER", "VENICE"]

_IN_DETAILS = "prompt_tokens_details.cached_tokens"

OPENROUTER = Dialect(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    key_variable="OPENROUTER_API_KEY",
    openai_models=True,
    # Where it speaks Responses to the vendor, fewer cannot be asked for: asked for 1 it gave 16.
    least_output=16,
    thinking=ThinkingForm(
        level=("reasoning", "effort"), budget=("reasoning", "max_tokens"), off={"reasoning": {"effort": "none"}}
    ),
    seen=Seen(
        reasoning=("reasoning", "reasoning_details"),
        usage=("after the end",),
        calls="in pieces",
        cached=(_IN_DETAILS,),
        finish=("length", "stop", "tool_calls"),
        errors=("object",),
        request_ids=("x-generation-id",),
        sources=("citations",),
    ),
    recordings="openrouter",
    sources={
        "base_url": "openrouter/fantasy--openai-tool--1",
        "key_variable": "https://openrouter.ai/docs/quickstart",
        "openai_models": "openrouter/rig--terminal_metadata_matrix-streaming_gpt_4_1_mini_tiny_plain_one--0",
        "least_output": "openrouter/rig--terminal_metadata_matrix-streaming_gpt_4_1_mini_tiny_plain_one--0",
        "thinking": "https://openrouter.ai/docs/use-cases/reasoning-tokens",
    },
)

TOGETHER = Dialect(
    name="together",
    title="Together AI",
    base_url="https://api.together.xyz/v1",
    hosts=("api.together.ai",),
    key_variable="TOGETHER_API_KEY",
    url_variable="TOGETHER_BASE_URL",
    limit="max_tokens",
    stream_options=False,
    seen=Seen(
        usage=("with the end",),
        cached=("cached_tokens",),
        finish=("eos", "stop"),
        resets=("seconds",),
    ),
    recordings="together-openai-compat",
    sources={
        "base_url": "together-openai-compat/openllmetry--test_chat-test_together_chat_legacy--0",
        "hosts": "together-openai-compat/openinference--test_instrumentor-test_chat_stream--0",
        "key_variable": "https://docs.together.ai/docs/quickstart",
        "url_variable": "https://pypi.org/project/together/",
        "limit": "together-openai-compat/openllmetry--test_chat-test_together_chat_legacy--0",
        "stream_options": "together-openai-compat/openinference--test_instrumentor-test_chat_stream--0",
    },
)

HUGGINGFACE = Dialect(
    name="huggingface",
    title="Hugging Face router",
    base_url="https://router.huggingface.co/v1",
    key_variable="HF_TOKEN",
    limit="max_tokens",
    seen=Seen(
        usage=("after the end", "with the end", "x_groq"),
        calls="whole",
        cached=(_IN_DETAILS,),
        finish=("stop", "tool_calls"),
        resets=("seconds",),
    ),
    recordings="huggingface-openai-compat",
    sources={
        "base_url": "huggingface-openai-compat/fantasy--huggingface-kimi-k2-tool_streaming--0",
        "key_variable": "https://huggingface.co/docs/inference-providers",
        "limit": "huggingface-openai-compat/fantasy--huggingface-kimi-k2-tool_streaming--0",
    },
)

VENICE = Dialect(
    name="venice",
    title="Venice",
    base_url="https://api.venice.ai/api/v1",
    key_variable="VENICE_API_KEY",
    limit="max_tokens",
    seen=Seen(
        reasoning=("reasoning_content",),
        usage=("after the end", "with the end"),
        cached=(_IN_DETAILS,),
        finish=("length", "stop", "tool_calls"),
        errors=("text",),
    ),
    recordings="venice-openai-compat",
    sources={
        # The recordings have the path, and no host.
        "base_url": "https://docs.venice.ai/api-reference/api-spec",
        "key_variable": "https://docs.venice.ai/overview/guides/generating-api-key",
        "limit": "venice-openai-compat/rig--conformance-tool_choice_modes--0",
    },
)
