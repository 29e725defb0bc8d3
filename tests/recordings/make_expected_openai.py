"""Writes what OpenAI's own SDK reads from each recorded response: the oracle of the codec tests.

Not part of the tests, and not of the product: the SDK is no dependency. To run it:

    python -m venv oracle && oracle/bin/pip install openai && oracle/bin/python tests/recordings/make_expected_openai.py

The SDK is given the recorded bytes through a mock transport, so that its real parsing, its real accumulation of
streams and its real choice of exceptions are what is written to `<recording>.expected.json`.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

# Version 3 of the SDK stands on the fork `httpx2`, earlier ones on `httpx`.
try:
    httpx: Any = importlib.import_module("httpx2")
except ModuleNotFoundError:
    httpx = importlib.import_module("httpx")

FOLDER = Path(__file__).parent
PROVIDERS = ("openai-chat", "azure-openai-chat")


def body_of(response: dict[str, Any]) -> bytes:
    for verbatim in ("sse", "text"):
        if verbatim in response:
            return response[verbatim].encode()
    return json.dumps(response["body"], ensure_ascii=False).encode()


def client_for(response: dict[str, Any]) -> openai.OpenAI:
    dropped = ("content-length", "transfer-encoding", "content-encoding")
    headers = {name: value for name, value in response.get("headers", {}).items() if name not in dropped}

    def answer(_request: Any) -> Any:
        return httpx.Response(response["status"], headers=headers, content=body_of(response))

    transport = httpx.MockTransport(answer)
    return openai.OpenAI(api_key="none", max_retries=0, http_client=httpx.Client(transport=transport))


def error_of(error: openai.APIStatusError) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "status": error.status_code,
        "code": error.code,
        "type": error.type,
        "request_id": error.request_id,
    }


def usage_of(usage: Any) -> dict[str, int | None] | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "input_tokens": usage.prompt_tokens,
        "cached_input_tokens": getattr(prompt, "cached_tokens", None),
        "cache_write_tokens": getattr(prompt, "cache_write_tokens", None),
        "output_tokens": usage.completion_tokens,
        "reasoning_tokens": getattr(completion, "reasoning_tokens", None),
        "total_tokens": usage.total_tokens,
    }


def call_of(call: Any) -> dict[str, Any]:
    if call.type == "custom":
        return {"id": call.id, "name": call.custom.name, "arguments": call.custom.input}
    return {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}


def answer_of(completion: Any, request_id: str | None) -> dict[str, Any]:
    choice = completion.choices[0]
    message = choice.message
    legacy = getattr(message, "function_call", None)
    return {
        "text": getattr(message, "content", None),
        "refusal": getattr(message, "refusal", None),
        "reasoning": getattr(message, "reasoning_content", None),
        "tool_calls": [call_of(call) for call in getattr(message, "tool_calls", None) or []],
        "function_call": None if legacy is None else {"name": legacy.name, "arguments": legacy.arguments},
        "citations": [note.model_dump(exclude_unset=True) for note in getattr(message, "annotations", None) or []],
        "finish_reason": choice.finish_reason,
        "usage": usage_of(completion.usage),
        "model": completion.model,
        "id": completion.id,
        "request_id": request_id,
    }


def read_stream(client: openai.OpenAI, asked: dict[str, Any]) -> dict[str, Any]:
    stream = client.chat.completions.create(**asked, stream=True)
    state = ChatCompletionStreamState()
    for chunk in stream:
        state.handle_chunk(chunk)
    return answer_of(state.current_completion_snapshot, stream.response.headers.get("x-request-id"))


def expected(recording: dict[str, Any]) -> dict[str, Any]:
    response = recording["response"]
    client = client_for(response)
    asked: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "any"}]}
    try:
        if "sse" in response:
            return read_stream(client, asked)
        completion = client.chat.completions.create(**asked)
        return answer_of(completion, completion._request_id)
    except openai.APIStatusError as error:
        return error_of(error)


def main() -> None:
    for provider in PROVIDERS:
        for file in sorted((FOLDER / provider).glob("*.json")):
            if file.name.endswith(".expected.json"):
                continue
            told = expected(json.loads(file.read_text()))
            told = {"sdk": f"openai {openai.__version__}"} | told
            target = file.with_name(f"{file.stem}.expected.json")
            target.write_text(json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
