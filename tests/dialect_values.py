"""Values of dialects that no recording shows, as documentation has them; and values that would be wrong ones.

Written a second time, so that a slip of the pen in one of the two places is found. Where each is documented stands in
the row's `sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.types import ToolCallIdForm
from penstock_providers.openai_chat import ThinkingForm

__all__ = ["DISABLED", "DOCUMENTED", "ENABLED", "OTHERS"]

ENABLED, DISABLED = {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}
DOCUMENTED: Mapping[str, Mapping[str, Any]] = {
    "alibaba": {
        "hosts": ("dashscope.aliyuncs.com",),
        "key_variable": "DASHSCOPE_API_KEY",
        "limit": "max_tokens",
        "thinking": ThinkingForm(
            level=(), budget=("thinking_budget",), on={"enable_thinking": True}, off={"enable_thinking": False}
        ),
        "prefill": {"partial": True},
    },
    "azure": {
        "key_variable": "AZURE_OPENAI_API_KEY",
        "url_variable": "AZURE_OPENAI_ENDPOINT",
        "reasoning_back": None,
    },
    "cerebras": {
        "key_variable": "CEREBRAS_API_KEY",
        "url_variable": "CEREBRAS_BASE_URL",
        "limit": "max_completion_tokens",
        "reasoning_back": "in the text",
    },
    "deepseek": {"key_variable": "DEEPSEEK_API_KEY", "json_schema": False, "wants_reasoning": True},
    "groq": {
        "key_variable": "GROQ_API_KEY",
        "url_variable": "GROQ_BASE_URL",
        "reasoning_back": "reasoning",
        "prefill": {},
    },
    "huggingface": {"key_variable": "HF_TOKEN"},
    "llamacpp": {
        "key_variable": "LLAMA_API_KEY",
        "needs_key": False,
        "thinking": ThinkingForm(off={"chat_template_kwargs": {"enable_thinking": False}}),
    },
    "lmstudio": {
        "base_url": "http://localhost:1234/v1",
        "key_variable": "LM_API_TOKEN",
        "needs_key": False,
        "limit": "max_tokens",
        "json_schema": True,
    },
    "mistral": {
        "key_variable": "MISTRAL_API_KEY",
        "thinking": ThinkingForm(words={"low": "high", "medium": "high"}, off={"reasoning_effort": "none"}),
        "reasoning_back": "content",
        "user_after_tool": False,
        "names": False,
    },
    "moonshot": {
        "hosts": ("api.moonshot.cn",),
        "key_variable": "MOONSHOT_API_KEY",
        "limit": "max_tokens",
        "forces_while_thinking": False,
        "thinks_always": {"kimi-k2.7-code": False, "kimi-k3": True},
        "thinking": ThinkingForm(level=(), on=ENABLED, off=DISABLED),
        "reasoning_back": "reasoning_content",
        "wants_reasoning": True,
        "prefill": {"partial": True},
    },
    "ollama": {
        "hosts": ("ollama.com",),
        "key_variable": "OLLAMA_API_KEY",
        "needs_key": False,
        "thinking": ThinkingForm(off={"reasoning_effort": "none"}),
    },
    "openrouter": {
        "key_variable": "OPENROUTER_API_KEY",
        "thinking": ThinkingForm(
            level=("reasoning", "effort"),
            budget=("reasoning", "max_tokens"),
            off={"reasoning": {"effort": "none"}},
        ),
    },
    "perplexity": {
        "key_variable": "PERPLEXITY_API_KEY",
        "url_variable": "PERPLEXITY_BASE_URL",
        "limit": "max_tokens",
        "tools": False,
    },
    "together": {"key_variable": "TOGETHER_API_KEY", "url_variable": "TOGETHER_BASE_URL"},
    "venice": {"base_url": "https://api.venice.ai/api/v1", "key_variable": "VENICE_API_KEY"},
    "vllm": {
        "base_url": "http://localhost:8000/v1",
        "key_variable": "VLLM_API_KEY",
        "needs_key": False,
        "limit": "max_tokens",
        "json_schema": True,
        "reasoning_back": "reasoning",
    },
    "xai": {"key_variable": "XAI_API_KEY"},
    "zai": {
        "base_url": "https://api.z.ai/api/paas/v4",
        "key_variable": "ZAI_API_KEY",
        "json_schema": False,
        "json_object": True,
        "thinking": ThinkingForm(on=ENABLED, off=DISABLED),
    },
}
OTHERS: Mapping[str, tuple[Any, ...]] = {
    "base_url": (None, "https://elsewhere.example/v1"),
    "hosts": ((), ("elsewhere.example",)),
    "key_variable": (None, "OTHER_API_KEY"),
    "url_variable": (None, "OTHER_URL"),
    "needs_key": (True, False),
    "key_header": ("authorization", "api-key"),
    "deployments": (True, False),
    "openai_models": (True, False),
    "limit": (None, "max_tokens", "max_completion_tokens"),
    "least_output": (1, 2, 16),
    "stream_options": (True, False),
    "seed": ("seed", "random_seed"),
    "forced_tool": ("required", "any"),
    "forces_while_thinking": (True, False),
    "thinks_always": ({}, {"kimi-k3": False}),
    "tools": (True, False),
    "vision": (True, False),
    "json_schema": (None, True, False),
    "json_object": (True, False),
    "thinking": (
        ThinkingForm(),
        ThinkingForm(level=()),
        ThinkingForm(on=ENABLED),
        ThinkingForm(on=ENABLED, off=DISABLED),
        ThinkingForm(level=("reasoning", "effort")),
        ThinkingForm(off={"reasoning_effort": "none"}),
    ),
    "reasoning_back": (None, "as it came", "reasoning", "reasoning_content", "content", "in the text"),
    "wants_reasoning": (True, False),
    "user_after_tool": (True, False),
    "names": (True, False),
    "tool_call_id": (None, ToolCallIdForm(longest=40), ToolCallIdForm(symbols="", shortest=9, longest=9)),
    "prefill": (None, {}, {"partial": True}, {"prefix": True}),
}
"""Every value that a row could wrongly have; of the free ones, some."""
