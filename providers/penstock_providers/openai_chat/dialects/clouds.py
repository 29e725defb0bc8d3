"""Rows of clouds that sell models beside everything else.

Not here: what the fields mean (`row`).
"""

from __future__ import annotations

from penstock_providers.openai_chat.dialects.row import Dialect, Seen, ThinkingForm

__all__ = ["ALIBABA", "AZURE"]

_IN_DETAILS = "prompt_tokens_details.cached_tokens"

ALIBABA = Dialect(
    name="alibaba",
    title="Alibaba Cloud",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    hosts=("dashscope.aliyuncs.com",),
    key_variable="DASHSCOPE_API_KEY",
    limit="max_tokens",
    thinking=ThinkingForm(
        on={"enable_thinking": True}, off={"enable_thinking": False}, level=(), budget=("thinking_budget",)
    ),
    prefill={"partial": True},
    seen=Seen(reasoning=("reasoning_content",), cached=(_IN_DETAILS,), finish=("stop",)),
    recordings="alibaba-openai-compat",
    sources={
        "base_url": "alibaba-openai-compat/ai--alibaba-alibaba-reasoning--0",
        "hosts": "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        "key_variable": "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        "limit": "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        "thinking": "https://www.alibabacloud.com/help/en/model-studio/deep-thinking",
        "prefill": "https://www.alibabacloud.com/help/en/model-studio/partial-mode",
    },
)

AZURE = Dialect(
    name="azure",
    title="Azure OpenAI",
    key_variable="AZURE_OPENAI_API_KEY",
    url_variable="AZURE_OPENAI_ENDPOINT",
    key_header="api-key",
    deployments=True,
    openai_models=True,
    reasoning_back=None,
    seen=Seen(
        usage=("after the end",),
        calls="whole",
        cached=(_IN_DETAILS,),
        finish=("content_filter", "length", "stop", "tool_calls"),
        errors=("object",),
        request_ids=("apim-request-id", "x-request-id"),
        resets=("seconds",),
    ),
    recordings="azure-openai-chat",
    sources={
        "key_variable": "https://learn.microsoft.com/azure/ai-foundry/openai/chatgpt-quickstart",
        "url_variable": "https://learn.microsoft.com/azure/ai-foundry/openai/chatgpt-quickstart",
        "key_header": (
            "azure-openai-chat/ruby_llm--fast-non-reasoning_can_handle_multiple_tool_calls_in_a_single_response--0"
        ),
        "deployments": "azure-openai-chat/openllmetry--test_azure-test_chat_reasoning--0",
        # A deployment may be called anything; what is called as a model is taken for it.
        "openai_models": "azure-openai-chat/dd-trace-py--v1-azure_chat_completion--0",
        "reasoning_back": "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning",
    },
)
