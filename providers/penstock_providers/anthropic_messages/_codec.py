"""The Anthropic Messages wire as a pure `Provider`: every method here, each said in the file that explains it."""

from __future__ import annotations

from collections.abc import Hashable

import attrs
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
from penstock_providers.anthropic_messages._body import adapted, body_of, unsupported
from penstock_providers.anthropic_messages._bound import input_bound_of, output_bound_of
from penstock_providers.anthropic_messages._errors import error_in_answer, error_of
from penstock_providers.anthropic_messages._models import capabilities_of, model_of
from penstock_providers.anthropic_messages._options import AnthropicOptions
from penstock_providers.anthropic_messages._read import completion_of
from penstock_providers.anthropic_messages._stream import AnthropicStreamDecoder
from penstock_providers.anthropic_messages._wire import FAMILY, UNREADABLE, json_object

__all__ = ["AnthropicMessages"]


@attrs.frozen
class AnthropicMessages(Provider):
    """Speaks the Messages wire to Anthropic, and to whoever speaks it at another `base_url`.

    Used without a kernel it leaves out what cannot be taken: `seed` has no place on this wire; `temperature` ends at 1
    here, and is left out beside thinking and for models that take none; thinking is left out where the model has none.
    """

    options: AnthropicOptions = attrs.Factory(AnthropicOptions)

    family = FAMILY
    significant_headers = frozenset({"anthropic-version", "anthropic-beta"})

    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        """The request on the wire, without credential."""
        del now
        body = msgspec.json.encode(body_of(request, target, stream=stream))
        return WireRequest("POST", self.options.url(), self._headers(target, stream=stream), body)

    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        """The same with the key in its header."""
        del now
        if secret is None:
            return wire
        bearer = self.options.auth == "bearer"
        name, value = ("authorization", f"Bearer {secret}") if bearer else ("x-api-key", secret)
        others = tuple(header for header in wire.headers if header[0] != name)
        return WireRequest(wire.method, wire.url, (*others, (name, value)), wire.body)

    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Input tokens the provider will not exceed. None with server tools, PDFs, cited documents, unknown fields."""
        body = body_of(request, target, stream=False)
        if body.get("model", target.model) != target.model:
            return None  # `extra` names another one, whose limits and price are its own
        return input_bound_of(
            body,
            model_of(target.model),
            hidden_tokens=self.options.hidden_tokens,
            count=None if target.count_tokens is None else target.most_tokens,
            long_context="context-" in dict(self._headers(target, stream=False)).get("anthropic-beta", ""),
        )

    def text_kind(self, target: Target) -> Hashable:
        """Its bytes, whatever the model."""
        return None if target.params or target.headers or target.count_tokens is not None else "bytes"

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Output tokens, thinking included, that the body allows. None where the provider samples several times."""
        return output_bound_of(body_of(request, target, stream=False))

    def own_thinking(self, target: Target) -> bool | None:
        """By the `type` of `thinking`. None where the model would do as it does anyway."""
        match target.params.get("thinking"):
            case {"type": "enabled" | "adaptive"}:
                return True
            case {"type": "disabled"}:
                return False
            case _:
                return None

    def decode(self, response: WireResponse) -> Completion:
        """The answer of a whole 2xx response."""
        try:
            body: object = msgspec.json.decode(response.body)
        except UNREADABLE:
            what = "not JSON" if response.body.strip() else "empty"
            raise MalformedResponseError(f"the response's body is {what}") from None
        fields = json_object(body)
        if fields is None:
            raise MalformedResponseError("the response's body is no JSON object")
        if fields.get("type") == "error" or "error" in fields:
            raise error_in_answer(fields, response)
        return completion_of(response, fields)

    def decoder(self, head: WireHead) -> StreamDecoder:
        """A decoder for the body that follows a 2xx head of a streamed request."""
        return AnthropicStreamDecoder(head)

    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        """The error that a response other than 2xx tells."""
        return error_of(response, now=now)

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """What the model cannot take beside the rest of the request."""
        return unsupported(request, target)

    def adapted(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """Tools that the conversation has used and the request does not define; thinking that has to be less."""
        return adapted(request, target)

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do."""
        return capabilities_of(model)

    def _headers(self, target: Target, *, stream: bool) -> Headers:
        """The wire's own, then the target's, which replace those of the same name; betas are added up."""
        own = {
            "accept": "text/event-stream" if stream else "application/json",
            "content-type": "application/json",
            "anthropic-version": self.options.version,
        }
        betas = list(self.options.beta)
        for name, value in target.headers:
            if name.lower() == "anthropic-beta":
                betas += value.split(",")
            else:
                own[name.lower()] = value
        if betas:
            own["anthropic-beta"] = ",".join(dict.fromkeys(beta.strip() for beta in betas))
        return tuple(own.items())
