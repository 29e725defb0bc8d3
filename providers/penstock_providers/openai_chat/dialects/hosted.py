"""Rows of providers that serve their own models, or open ones on machines of their own.

Not here: what the fields mean (`row`).
"""

from __future__ import annotations

from penstock_providers.openai_chat._models import MISTRAL_IDS
from penstock_providers.openai_chat.dialects.row import Dialect, Seen, ThinkingForm

__all__ = ["CEREBRAS", "DEEPSEEK", "GROQ", "MISTRAL", "MOONSHOT", "PERPLEXITY", "XAI", "ZAI"]

_IN_DETAILS = "prompt_tokens_details.cached_tokens"
_THINKING_SWITCH = ThinkingForm(on={"thinking": {"type": "enabled"}}, off={"thinking": {"type": "disabled"}})

GROQ = Dialect(
    name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    key_variable="GROQ_API_KEY",
    url_variable="GROQ_BASE_URL",
    limit="max_tokens",
    reasoning_back="reasoning",
    prefill={},
    seen=Seen(
        reasoning=("reasoning",),
        usage=("after the end", "with the end", "x_groq"),
        calls="whole",
        cached=(_IN_DETAILS,),
        finish=("length", "stop", "tool_calls"),
        errors=("object",),
        request_ids=("x-request-id",),
        resets=("duration",),
    ),
    recordings="groq",
    sources={
        "base_url": "groq/fantasy--groq-kimi-k2-multi_tool--0",
        "key_variable": "https://console.groq.com/docs/quickstart",
        "url_variable": "https://pypi.org/project/groq/",
        "limit": "groq/fantasy--groq-kimi-k2-multi_tool--0",
        # Written by Groq's own generator, from its description of the wire.
        "reasoning_back": (
            "https://github.com/groq/groq-python/blob/main/src/groq/types/chat/"
            "chat_completion_assistant_message_param.py"
        ),
        "prefill": "https://console.groq.com/docs/prompting",
    },
)

DEEPSEEK = Dialect(
    name="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com",
    key_variable="DEEPSEEK_API_KEY",
    limit="max_tokens",
    forces_while_thinking=False,
    vision=False,
    json_schema=False,
    json_object=True,
    thinking=_THINKING_SWITCH,
    reasoning_back="reasoning_content",
    wants_reasoning=True,
    seen=Seen(
        reasoning=("reasoning_content",),
        usage=("with the end",),
        calls="in pieces",
        cached=("prompt_cache_hit_tokens", _IN_DETAILS),
        finish=("length", "stop", "tool_calls"),
        errors=("object",),
    ),
    recordings="deepseek",
    sources={
        "base_url": "deepseek/dd-trace-py--v1-deepseek_streamed_reasoning_content--0",
        "key_variable": "https://api-docs.deepseek.com/",
        "limit": "deepseek/dd-trace-py--v1-deepseek_streamed_reasoning_content--0",
        "forces_while_thinking": (
            "deepseek/rig--re_shape_matrix-forced_tool_choice_under_thinking_is_rejected_upstream--0"
        ),
        "vision": "deepseek/rig--wire_shape_matrix-blocking_image_url_part_reaches_the_wire--0",
        "json_schema": "https://api-docs.deepseek.com/guides/json_mode",
        "json_object": "deepseek/rig--agent_tool_sessions-json_object_response_format_roundtrip--0",
        "thinking": "deepseek/dd-trace-py--v1-deepseek_streamed_reasoning_content--0",
        "reasoning_back": "deepseek/chatlas--test_provider_deepseek-test_deepseek_tool_variations--2",
        "wants_reasoning": "https://api-docs.deepseek.com/guides/thinking_mode",
    },
)

XAI = Dialect(
    name="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    key_variable="XAI_API_KEY",
    limit="max_tokens",
    reasoning_back="reasoning_content",
    seen=Seen(
        reasoning=("reasoning_content",),
        usage=("after the end", "along", "with the end"),
        calls="whole",
        cached=(_IN_DETAILS,),
        reasoning_beside=True,
        finish=("stop", "tool_calls"),
    ),
    recordings="xai",
    sources={
        "base_url": "xai/fantasy--xai-grok-4-fast-simple--0",
        "key_variable": "https://docs.x.ai/docs/tutorial",
        "limit": "xai/fantasy--xai-grok-4-fast-simple_object_streaming--0",
        "reasoning_back": "xai/fantasy--xai-grok-3-mini-thinking--1",
    },
)

MISTRAL = Dialect(
    name="mistral",
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    key_variable="MISTRAL_API_KEY",
    limit="max_tokens",
    stream_options=False,
    seed="random_seed",
    forced_tool="any",
    json_schema=True,
    json_object=True,
    # Its models think, or do not: there is nothing between.
    thinking=ThinkingForm(words={"low": "high", "medium": "high"}, off={"reasoning_effort": "none"}),
    reasoning_back="content",
    user_after_tool=False,
    names=False,
    tool_call_id=MISTRAL_IDS,
    seen=Seen(
        reasoning=("content",),
        usage=("with the end",),
        calls="whole",
        cached=(_IN_DETAILS,),
        finish=("length", "stop", "tool_calls"),
        errors=("flat",),
        request_ids=("mistral-correlation-id",),
        resets=("seconds",),
    ),
    recordings="mistral",
    sources={
        "base_url": "mistral/chatlas--test_provider_mistral-test_data_extraction--0",
        "key_variable": "https://docs.mistral.ai/getting-started/quickstart/",
        "limit": "mistral/rig--request_shape_matrix-streaming_mistral_small_json_any--0",
        "stream_options": "mistral/rig--request_shape_matrix-streaming_mistral_small_json_any--0",
        "seed": "mistral/chatlas--test_provider_mistral-test_data_extraction--0",
        "forced_tool": "mistral/rig--tool_lifecycle_matrix-streaming_ministral_3b_parallel_agent--0",
        "json_schema": "mistral/chatlas--test_provider_mistral-test_data_extraction--0",
        "json_object": "mistral/rig--request_shape_matrix-blocking_ministral_3b_json_none--0",
        "thinking": "https://docs.mistral.ai/capabilities/reasoning/",
        "reasoning_back": "https://docs.mistral.ai/capabilities/reasoning/",
        "user_after_tool": "https://docs.mistral.ai/capabilities/function_calling/",
        "names": "https://docs.mistral.ai/api/endpoint/chat",
        "tool_call_id": "mistral/ruby_llm--stral-small-latest_can_handle_multiple_tool_calls_in_a_single_response--0",
    },
)

PERPLEXITY = Dialect(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai",
    key_variable="PERPLEXITY_API_KEY",
    url_variable="PERPLEXITY_BASE_URL",
    limit="max_tokens",
    tools=False,
    json_schema=True,
    seen=Seen(
        usage=("along", "with the end"),
        finish=("stop",),
        errors=("object",),
        request_ids=("x-request-id",),
        sources=("citations", "search_results"),
    ),
    recordings="perplexity-openai-compat",
    sources={
        "base_url": "perplexity-openai-compat/langchaingo--testdata-TestTool_Integration--0",
        "key_variable": "https://docs.perplexity.ai/getting-started/quickstart",
        "url_variable": "https://pypi.org/project/perplexityai/",
        "limit": "https://docs.perplexity.ai/api-reference/chat-completions-post",
        # Its own reference says nothing of them; requests that hold any are answered with an error.
        "tools": "https://github.com/pipecat-ai/pipecat/pull/4862",
        "json_schema": (
            "perplexity-openai-compat/"
            "ruby_llm--ith_params_perplexity_sonar_supports_json_schema_response_format_param--0"
        ),
    },
)

CEREBRAS = Dialect(
    name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    key_variable="CEREBRAS_API_KEY",
    url_variable="CEREBRAS_BASE_URL",
    limit="max_completion_tokens",
    reasoning_back="in the text",
    seen=Seen(reasoning=("reasoning",), cached=(_IN_DETAILS,), finish=("stop", "tool_calls")),
    recordings="cerebras-openai-compat",
    sources={
        "base_url": "cerebras-openai-compat/pydantic-ai--test_openai-test_openai_model_cerebras_provider--0",
        "key_variable": "https://inference-docs.cerebras.ai/quickstart",
        "url_variable": "https://pypi.org/project/cerebras-cloud-sdk/",
        "limit": "https://inference-docs.cerebras.ai/api-reference/chat-completions",
        "reasoning_back": "https://inference-docs.cerebras.ai/capabilities/reasoning",
    },
)

MOONSHOT = Dialect(
    name="moonshot",
    title="Moonshot AI",
    base_url="https://api.moonshot.ai/v1",
    hosts=("api.moonshot.cn",),
    key_variable="MOONSHOT_API_KEY",
    limit="max_tokens",
    forces_while_thinking=False,
    thinks_always={"kimi-k2.7-code": False, "kimi-k3": True},
    thinking=ThinkingForm(on=_THINKING_SWITCH.on, off=_THINKING_SWITCH.off, level=()),
    reasoning_back="reasoning_content",
    wants_reasoning=True,
    prefill={"partial": True},
    seen=Seen(finish=("tool_calls",)),
    recordings="moonshot-openai-compat",
    sources={
        "base_url": "moonshot-openai-compat/ai--moonshotai-moonshotai-tool-call--0",
        "hosts": "https://platform.moonshot.cn/docs/api/chat",
        "key_variable": "https://platform.kimi.ai/docs/guide/start-using-kimi-api",
        "limit": "https://platform.kimi.ai/docs/api/chat",
        # "tool_choice 'specified' is incompatible with thinking enabled"
        "forces_while_thinking": "https://java.agentscope.io/v2/en/integration/model/kimi",
        "thinks_always": "https://java.agentscope.io/v2/en/integration/model/kimi",
        "thinking": "https://platform.kimi.ai/docs/api/models-overview",
        "reasoning_back": "https://platform.kimi.ai/docs/guide/use-kimi-k2-thinking-model",
        "wants_reasoning": "https://platform.kimi.ai/docs/guide/use-kimi-k2-thinking-model",
        "prefill": "https://platform.kimi.ai/docs/guide/use-partial-mode-feature-of-kimi-api",
    },
)

ZAI = Dialect(
    name="zai",
    title="Z.ai",
    base_url="https://api.z.ai/api/paas/v4",
    key_variable="ZAI_API_KEY",
    limit="max_tokens",
    json_schema=False,
    json_object=True,
    thinking=_THINKING_SWITCH,
    reasoning_back="reasoning_content",
    seen=Seen(
        reasoning=("reasoning_content",),
        usage=("with the end",),
        calls="whole",
        cached=(_IN_DETAILS,),
        finish=("stop", "tool_calls"),
    ),
    recordings="zai-openai-compat",
    sources={
        # The recordings are of its coding plan, which has a path of its own.
        "base_url": "https://docs.z.ai/api-reference/introduction",
        "key_variable": "https://docs.z.ai/guides/overview/quick-start",
        "limit": "zai-openai-compat/fantasy--zai-glm-4-7-flash-multi_tool_streaming--0",
        "json_schema": "https://docs.z.ai/guides/capabilities/struct-output",
        "json_object": "https://docs.z.ai/guides/capabilities/struct-output",
        "thinking": "https://docs.z.ai/guides/capabilities/thinking-mode",
        "reasoning_back": "zai-openai-compat/fantasy--zai-glm-4-7-flash-thinking-streaming--1",
    },
)
