"""Chat Completions as a Provider: OpenAI, and whoever speaks a dialect of it.

Not here: sockets, clocks, credentials at rest. The pieces lie in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Hashable
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
from penstock_providers.openai_chat._address import chat_url
from penstock_providers.openai_chat._broken_off import broken_off
from penstock_providers.openai_chat._encode import unsupported, wire_body
from penstock_providers.openai_chat._errors import classify, error_in_answer, request_id_of, tells_error
from penstock_providers.openai_chat._foreign import objects_in
from penstock_providers.openai_chat._messages import tells_errors
from penstock_providers.openai_chat._models import MISTRAL_IDS, Model, is_mistral, model_of, unlimited_model_of
from penstock_providers.openai_chat._options import DialectOptions, OpenAIChatOptions
from penstock_providers.openai_chat._read import FAMILY, AnswerReader, plain_completion
from penstock_providers.openai_chat._stream import ChatDecoder
from penstock_providers.openai_chat._thinking import own_thinking
from penstock_providers.openai_chat._wire import as_answer, parse_json, to_json
from penstock_providers.openai_chat.dialects import OPENAI, Dialect

__all__ = ["OpenAIChat"]

_SAY_SOMETHING = frozenset({"stop", "tool_calls"})
"""How an answer ends that has a message. Azure leaves it out where a filter ended the answer, and says so."""


_WHOLE_HEADERS: Headers = (("content-type", "application/json"), ("accept", "application/json"))
_STREAMED_HEADERS: Headers = (("content-type", "application/json"), ("accept", "text/event-stream"))
"""Where nobody asks for more."""


class OpenAIChat(Provider):
    """The codec, for one server and its dialect.

    Used without a kernel it leaves out what the model cannot take: `temperature`, `top_p` and `stop` of reasoning
    models, `thinking` of others, parts bound to another wire.
    """

    family: ClassVar[str] = FAMILY
    significant_headers = frozenset({"openai-beta"})
    idempotency_header: ClassVar[str | None] = "idempotency-key"
    """OpenAI's own client knows this header and draws a key for each request, but sends one only where its caller
    asks for it. Servers and gateways that imitate OpenAI take it too, or pass over it as over any they do not know.
    """

    def __init__(self, options: DialectOptions | None = None, dialect: Dialect = OPENAI) -> None:
        self._options = options or OpenAIChatOptions()
        self._dialect = self._options.spoken(dialect)
        self._own_headers = self._options.headers
        self._bounding = model_of if self._dialect.openai_models else unlimited_model_of
        """What is known of a model's limits: nothing where a server may call any model so."""

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        """The request without its credential."""
        del now
        body = wire_body(request, target, self._dialect, stream=stream)
        deployment = target.model if self._dialect.deployments else None
        url = chat_url(self._options.base_url, self._options.query, deployment=deployment)
        return WireRequest("POST", url, self._headers(target, stream=stream), to_json(body))

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        """The same with the key; without one (local servers) it stays as it is."""
        del now
        if secret is None:
            return wire
        header = self._dialect.key_header
        named = (header, secret if header == "api-key" else f"Bearer {secret}")
        others = [each for each in wire.headers if each[0] != header]
        return WireRequest(wire.method, wire.url, (*others, named), wire.body)

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Bytes of everything that reaches the prompt, images at their dearest, and the allowance."""
        model = self._bounding(target.model)
        if not target.params:
            plain = _bounds.plain_input_bound(request, model, self._options.hidden_tokens, target.most_tokens)
            if plain is not None:
                return plain
        body = wire_body(request, target, self._dialect, stream=False)
        if body.get("model", target.model) != target.model:
            return None  # `extra` names another one, whose limits and price are its own
        exact = None if target.count_tokens is None else target.most_tokens
        return _bounds.input_bound(body, model, self._options.hidden_tokens, exact)

    def kind(self, target: Target) -> tuple[Model, bool] | None:
        """What is known of the model: of its name nothing else depends."""
        if target.params or target.count_tokens is not None:
            return None
        return model_of(target.model), is_mistral(target.model)

    def text_kind(self, target: Target) -> Hashable:
        """Its bytes, whatever the model: but what searches has no bound."""
        if target.params or target.count_tokens is not None or self._bounding(target.model).searches:
            return None
        return "bytes"

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        """The limit in the final body, times its choices; without one the model's own."""
        least = self._dialect.least_output
        if not request.extra and not target.params and least == 1:
            # Nothing but the request itself can set a limit: the body need not be made to read it there.
            return request.max_tokens or self._bounding(target.model).max_output
        body = wire_body(request, target, self._dialect, stream=False)
        return _bounds.output_bound(body, self._bounding(target.model), least=least)

    def own_max_tokens(self, target: Target) -> int | None:
        """By either of the wire's two names; where both are given, what the bound goes by."""
        return _bounds.named_limit(target.params)

    def own_thinking(self, target: Target) -> bool | None:
        """By the words of this dialect, or of any other: what is called so means it, whoever reads it."""
        return own_thinking(target.params, self._dialect)

    def decode(self, response: WireResponse) -> Completion:
        """The answer of a whole response."""
        payload = parse_json(response.body, "the response")
        if tells_error(payload):
            raise error_in_answer(payload, response)
        request_id = request_id_of(response)
        answer = as_answer(payload, "the response")
        if not answer.choices:
            raise MalformedResponseError("the response holds no choices", request_id=request_id)
        plain = plain_completion(answer, request_id=request_id, raw=payload)
        if plain is not None:
            return plain
        failure = broken_off(answer, response)
        reader = AnswerReader(whole=True)
        reader.take(answer)
        if failure is not None:
            failure.usage = reader.usage
            raise failure
        completion = reader.completion(request_id=request_id, raw=payload)
        if not reader.finished:
            says = "no finish_reason" if completion.message.content else "no answer"
            raise MalformedResponseError(f"the response holds {says}", usage=reader.usage, request_id=request_id)
        said = any(choice.get("message") for choice in objects_in(payload["choices"]))
        if completion.finish_reason in _SAY_SOMETHING and not said:
            raise MalformedResponseError("the response holds no answer", usage=reader.usage, request_id=request_id)
        return completion

    def decoder(self, head: WireHead) -> StreamDecoder:
        """A decoder for one stream."""
        return ChatDecoder(head)

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        """The error of a response other than 2xx."""
        return classify(response, now=now)

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """What the model cannot take beside the rest of the request."""
        return unsupported(request, target, self._dialect)

    def adapted(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """That a tool has failed is said in words."""
        del target
        return frozenset({"tool_errors_in_words"} if tells_errors(request) else ())

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do, at this server."""
        known, row = model_of(model).capabilities(), self._dialect
        return msgspec.structs.replace(
            known,
            prefill=row.prefill is not None,
            json_schema=known.json_schema if row.json_schema is None or known.json_schema is False else row.json_schema,
            json_object=row.json_object or (row.openai_models and known.json_object),
            tools=known.tools and row.tools,
            vision=known.vision and row.vision,
            stream_usage=self._options.reports_usage,
            max_output=known.max_output if row.openai_models else None,
            thinking_parts="none" if row.reasoning_back is None else "any",
            parts_bound_to="provider",
            tool_call_id=row.tool_call_id or (MISTRAL_IDS if is_mistral(model) else known.tool_call_id),
        )

    def _headers(self, target: Target, *, stream: bool) -> Headers:
        if not (target.headers or self._own_headers):
            return _STREAMED_HEADERS if stream else _WHOLE_HEADERS
        headers = dict(_STREAMED_HEADERS if stream else _WHOLE_HEADERS) | dict(self._own_headers)
        return tuple((headers | {name.lower(): value for name, value in target.headers}).items())
