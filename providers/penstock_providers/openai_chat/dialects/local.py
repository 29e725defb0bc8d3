"""Rows of servers that run on one's own machines. None of them needs a key; whoever starts one may ask for it.

Not here: what the fields mean (`row`).
"""

from __future__ import annotations

from penstock_providers.openai_chat.dialects.row import Dialect, Seen, ThinkingForm

__all__ = ["LLAMACPP", "LMSTUDIO", "OLLAMA", "VLLM"]

_IN_DETAILS = "prompt_tokens_details.cached_tokens"

LLAMACPP = Dialect(
    name="llamacpp",
    title="llama.cpp",
    base_url="http://localhost:8080/v1",
    key_variable="LLAMA_API_KEY",
    needs_key=False,
    limit="max_tokens",
    json_schema=True,
    thinking=ThinkingForm(off={"chat_template_kwargs": {"enable_thinking": False}}),
    reasoning_back="reasoning_content",
    seen=Seen(
        reasoning=("reasoning_content",),
        usage=("after the end",),
        calls="in pieces",
        cached=(_IN_DETAILS,),
        finish=("length", "stop", "tool_calls"),
        errors=("object",),
    ),
    recordings="llamacpp-openai-compat",
    sources={
        "base_url": "llamacpp-openai-compat/rig--structured_output_matrix-json_object_is_a_no_op--0",
        "key_variable": "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "needs_key": "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "limit": "llamacpp-openai-compat/rig--structured_output_matrix-json_object_is_a_no_op--0",
        "json_schema": (
            "llamacpp-openai-compat/rig--typed_prompt_tools-prompt_typed_with_tool_call_verbatim_roundtrip--1"
        ),
        "thinking": "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "reasoning_back": "llamacpp-openai-compat/rig--streaming_tools-streaming_tools_smoke--1",
    },
)

OLLAMA = Dialect(
    name="ollama",
    title="Ollama",
    base_url="http://localhost:11434/v1",
    hosts=("ollama.com",),
    key_variable="OLLAMA_API_KEY",
    needs_key=False,
    limit="max_tokens",
    json_schema=True,
    thinking=ThinkingForm(off={"reasoning_effort": "none"}),
    reasoning_back="reasoning",
    seen=Seen(
        reasoning=("reasoning",),
        calls="whole",
        finish=("length", "stop", "tool_calls"),
        errors=("object",),
        request_ids=("x-request-id",),
    ),
    recordings="ollama-openai-compat",
    sources={
        "base_url": "ollama-openai-compat/activeagent--native_format_test-test_agent_image_input--0",
        "hosts": "https://docs.ollama.com/cloud",
        "key_variable": "https://docs.ollama.com/cloud",
        "needs_key": "https://docs.ollama.com/api/openai-compatibility",
        "limit": "ollama-openai-compat/activeagent--native_format_test-test_agent_image_input--0",
        "json_schema": (
            "ollama-openai-compat/pydantic-ai--test_ollama-test_ollama_local_native_output_uses_json_schema--0"
        ),
        "thinking": "https://docs.ollama.com/api/openai-compatibility",
        "reasoning_back": (
            "ollama-openai-compat/ruby_llm--string_tool_results_ollama_qwen3_preserves_strings_returned_from_tools--1"
        ),
    },
)

LMSTUDIO = Dialect(
    name="lmstudio",
    title="LM Studio",
    base_url="http://localhost:1234/v1",
    key_variable="LM_API_TOKEN",
    needs_key=False,
    limit="max_tokens",
    json_schema=True,
    seen=Seen(reasoning=("reasoning", "reasoning_content"), usage=("after the end",)),
    sources={
        "base_url": "https://lmstudio.ai/docs/developer",
        "key_variable": "https://lmstudio.ai/docs/developer/core/authentication",
        "needs_key": "https://lmstudio.ai/docs/developer/core/authentication",
        "limit": "https://lmstudio.ai/docs/developer/openai-compat/chat-completions",
        "json_schema": "https://lmstudio.ai/docs/developer/openai-compat/structured-output",
        "seen": "https://lmstudio.ai/docs/developer/api-changelog",
    },
)

VLLM = Dialect(
    name="vllm",
    title="vLLM",
    base_url="http://localhost:8000/v1",
    key_variable="VLLM_API_KEY",
    needs_key=False,
    limit="max_tokens",
    json_schema=True,
    reasoning_back="reasoning",
    seen=Seen(reasoning=("reasoning",), usage=("after the end",)),
    sources={
        "base_url": "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "key_variable": "https://docs.vllm.ai/en/latest/configuration/env_vars.html",
        "needs_key": "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "limit": "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "json_schema": "https://docs.vllm.ai/en/latest/features/structured_outputs.html",
        "reasoning_back": "https://docs.vllm.ai/en/latest/features/reasoning_outputs.html",
        "seen": "https://docs.vllm.ai/en/latest/features/reasoning_outputs.html",
    },
)
