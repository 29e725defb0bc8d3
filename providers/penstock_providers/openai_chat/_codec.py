"""Chat Completions as a Provider: OpenAI, Azure, and servers that imitate them.

Not here: sockets, clocks, credentials at rest. The pieces lie in the files beside this one.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from penstock.abc import Provider, StreamDecoder
from penstock.errors import MalformedResponseError, ProviderError
from penstock.types import (
    Capabilities,
    ChatRequest,
    Completion,
    Headers,
    Target,
    WireHead,
    WireRequest,
    WireResponse,
)
from penstock_providers.openai_chat import _bounds
from penstock_providers.openai_chat._encode import unsupported, wire_body
from penstock_providers.openai_chat._errors import classify, error_in_answer, request_id_of, tells_error
from penstock_providers.openai_chat._models import MISTRAL_IDS, is_mistral, model_of
from penstock_providers.openai_chat._options import OpenAIChatOptions
from penstock_providers.openai_chat._read import FAMILY, AnswerReader
from penstock_providers.openai_chat._stream import ChatDecoder
from penstock_providers.openai_chat._wire import as_answer, parse_json, to_json

__all__ = ["OpenAIChat"]


class OpenAIChat(Provider):
    """The codec, for one server.

    Used without a kernel it leaves out what the model cannot take: `temperature`, `top_p` and `stop` of reasoning
    models, `thinking` of others, parts bound to another wire.
    """

    family: ClassVar[str] = FAMILY
    significant_headers = frozenset({"openai-beta"})
    idempotency_header: ClassVar[str | None] = "idempotency-key"
    """OpenAI's own client knows this header and draws a key for each request, but sends one only where its caller
    asks for it. Servers and gateways that imitate OpenAI take it too, or pass over it as over any they do not know.
    """

    def __init__(self, options: OpenAIChatOptions | None = None) -> None:
        self._options = options or OpenAIChatOptions()

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        """The request without its credential."""
        del now
        body = wire_body(request, target, self._options, stream=stream)
        return WireRequest("POST", self._options.url(target.model), self._headers(target, stream=stream), to_json(body))

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        """The same with the key; without one (local servers) it stays as it is."""
        del now
        if secret is None:
            return wire
        named = ("api-key", secret) if self._options.uses_api_key_header else ("authorization", f"Bearer {secret}")
        others = tuple(header for header in wire.headers if header[0] != named[0])
        return msgspec.structs.replace(wire, headers=(*others, named))

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Bytes of everything that reaches the prompt, images at their dearest, and the allowance."""
        model = model_of(target.model)
        if not target.params:
            plain = _bounds.plain_input_bound(request, model, self._options.hidden_tokens)
            if plain is not None:
                return plain
        body = wire_body(request, target, self._options, stream=False)
        return _bounds.input_bound(body, model, self._options.hidden_tokens)

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        """The limit in the final body, times its choices; without one the model's own."""
        openrouter = self._options.is_openrouter
        if not request.extra and not target.params and not openrouter:
            # Nothing but the request itself can set a limit: the body need not be made to read it there.
            return request.max_tokens or model_of(target.model).max_output
        body = wire_body(request, target, self._options, stream=False)
        return _bounds.output_bound(body, model_of(target.model), openrouter=openrouter)

    def decode(self, response: WireResponse) -> Completion:
        """The answer of a whole response."""
        payload = parse_json(response.body, "the response")
        if tells_error(payload):
            raise error_in_answer(payload, response)
        request_id = request_id_of(response)
        answer = as_answer(payload, "the response")
        if not answer.choices:
            raise MalformedResponseError("the response holds no choices", request_id=request_id)
        reader = AnswerReader(whole=True)
        reader.take(answer)
        completion = reader.completion(request_id=request_id, raw=payload)
        if not reader.finished and not completion.message.content:
            raise MalformedResponseError("the response holds no answer", request_id=request_id)
        if completion.finish_reason == "stop" and all(choice.message is None for choice in answer.choices):
            # Azure leaves the message out where a filter ended the answer: that says so. This claims to be one.
            raise MalformedResponseError("the response holds no answer", request_id=request_id)
        return completion

    def decoder(self, head: WireHead) -> StreamDecoder:
        """A decoder for one stream."""
        return ChatDecoder(head)

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        """The error of a response other than 2xx."""
        return classify(response, now=now)

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """What the model cannot take beside the rest of the request."""
        return unsupported(request, target)

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do, at this server."""
        known = model_of(model).capabilities()
        return msgspec.structs.replace(
            known,
            stream_usage=self._options.stream_usage,
            thinking_parts="any" if self._options.sends_reasoning else "none",
            parts_bound_to="provider",
            tool_call_id=MISTRAL_IDS if self._options.is_mistral or is_mistral(model) else known.tool_call_id,
        )

    def _headers(self, target: Target, *, stream: bool) -> Headers:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
        }
        if self._options.organization is not None:
            headers["openai-organization"] = self._options.organization
        if self._options.project is not None:
            headers["openai-project"] = self._options.project
        return tuple((headers | {name.lower(): value for name, value in target.headers}).items())
