"""Writes `*.expected.json`: what the vendor's own SDK reads from the recorded bytes.

Not part of the tests and not needed to run them: they compare the codec with the files written here. To write them
again, in an environment of its own (penstock need not be there):

    python -m venv oracle && oracle/bin/pip install anthropic==2.12.0
    oracle/bin/python tests/recordings/make_expected_anthropic.py

Each recording is served to the SDK's client by a transport in memory, so that its parsing, its accumulation of streams
and its errors are the real ones. The files hold the SDK's words; what they mean in penstock's is said in the tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2

HERE = Path(__file__).parent
SHOWN = ("type", "text", "thinking", "signature", "data", "id", "name", "input", "tool_use_id", "content")


def served(recording: dict[str, Any]) -> anthropic.Anthropic:
    response = recording["response"]
    if "sse" in response:
        content = response["sse"].encode()
    else:
        content = response["text"].encode() if "text" in response else json.dumps(response["body"]).encode()
    # What a transport would have undone already; and a type, without which the SDK parses nothing.
    dropped = ("content-length", "content-encoding", "transfer-encoding", "content-type")
    headers = {name: value for name, value in response.get("headers", {}).items() if name.lower() not in dropped}
    headers["content-type"] = "text/event-stream" if "sse" in response else "application/json"
    transport = httpx2.MockTransport(lambda _: httpx2.Response(response["status"], headers=headers, content=content))
    return anthropic.Anthropic(api_key="none", max_retries=0, http_client=httpx2.Client(transport=transport))


def asked(client: anthropic.Anthropic, *, streamed: bool) -> tuple[Any, str | None]:
    question: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]}
    if not streamed:
        message = client.beta.messages.create(**question)
        return message, message._request_id
    with client.beta.messages.stream(**question) as stream:
        return stream.get_final_message(), stream.request_id


def expected(recording: dict[str, Any]) -> dict[str, Any]:
    try:
        message, request_id = asked(served(recording), streamed="sse" in recording["response"])
    except anthropic.APIStatusError as error:
        return {
            "error": type(error).__name__,
            "status": error.status_code,
            "type": error.type,
            "request_id": error.request_id,
            "message": error.api_message,
        }
    whole = message.to_dict()
    blocks = [{name: block[name] for name in SHOWN if name in block} for block in whole["content"]]
    return {
        "text": "".join(block.get("text", "") for block in blocks if block["type"] == "text"),
        "blocks": blocks,
        "citations": sum(len(block.get("citations") or ()) for block in whole["content"]),
        "stop_reason": whole["stop_reason"],
        "usage": whole["usage"],
        "model": whole["model"],
        "id": whole["id"],
        "request_id": request_id,
    }


def main() -> None:
    for provider in ("anthropic-messages", "vertex-anthropic"):
        for file in sorted((HERE / provider).glob("*.json")):
            if file.name.endswith(".expected.json"):
                continue
            recording = json.loads(file.read_text())
            text = json.dumps(expected(recording), indent=1, ensure_ascii=False, sort_keys=True)
            file.with_suffix(".expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
