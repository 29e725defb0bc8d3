"""What outsiders implement: Provider and its StreamDecoder, LedgerStore, CacheStore, Validator.

Every class states its laws; `penstock.testing` checks them against any implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import ClassVar, Literal, TypeAlias

from penstock._cache_store import CacheStore, CacheStoreStatistics, StoredEntry
from penstock._ledger_store import LedgerStore
from penstock._request import ChatRequest
from penstock._response import Chunk, Completion
from penstock._validator import InvalidValueError, Validator
from penstock._wire import Capabilities, Target, WireHead, WireRequest, WireResponse
from penstock.errors import CallError, ProviderError

__all__ = [
    "CacheStore",
    "CacheStoreStatistics",
    "InvalidValueError",
    "LedgerStore",
    "Missing",
    "Provider",
    "StoredEntry",
    "StreamDecoder",
    "Validator",
]

Missing: TypeAlias = Literal["answer", "usage", "end"]
"""What a stream still has to bring: more of the answer, its final usage, or nothing but the wire's mark of its end."""


class StreamDecoder(ABC):
    """Reads one streamed response.

    Laws: how the bytes are split changes nothing; `feed` never blocks and never keeps the bytes it has read;
    what it does not know it skips. After an exception the decoder is not used again.
    """

    @abstractmethod
    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes, in order; may be empty.

        Raises a ProviderError where the stream tells of an error, MalformedResponseError where it cannot be read.
        `Finished` is the kernel's to say: a decoder leaves it out.
        """

    @abstractmethod
    def close(self) -> list[Chunk] | None:
        """The bytes have ended. Raises StreamBrokenError if the stream did not end as its wire says it must.

        What a last event brings that lacks only the mark of its own end is given here, for the kernel to deliver.
        Law: where it raises, `completion` holds no text that was never given.
        """

    @property
    @abstractmethod
    def completion(self) -> Completion:
        """The whole answer after `close`; before it, and after a failure, what there is so far."""

    @property
    def aside(self) -> Sequence[tuple[int, str]]:
        """What the last `feed` or `close` read of other choices than the answer: the number of each, and more of its
        text, thinking or arguments. It is shown to nobody, and metered, for it is billed.
        """
        return ()

    @property
    def done(self) -> bool:
        """True once the wire's own end was read: nothing that follows matters, and the kernel need not wait for it."""
        return False

    @property
    def missing(self) -> Missing:
        """What the stream still has to bring; `done` is for what is over. A decoder that cannot tell says "answer".

        "usage": the answer is whole, and only what it cost is not told yet. "end": that is told too, and for good: a
        count that came before the answer's end was one of a part of it. The kernel lets no deadline take back an answer
        of which no more is missing than that: it waits some seconds for usage, and half of the call's time at most; for
        the end a moment, and for usage too where the target's capabilities deny `stream_usage`. More of the answer,
        should it come all the same, is waited for anew.

        Laws: short of an error it never goes back, from "end" to "usage" to "answer". Where it is not "answer", `close`
        would not raise if the bytes ended there, and `completion` is the final one but for its usage; in that, too,
        where it is "end". Where it is "usage" after `close`, what `completion` tells of usage is a beginning, and is
        charged as one: as an estimate, never below it.
        """
        return "answer"

    @property
    def unread(self) -> CallError | None:
        """What came in the place of the end, or of usage: an event that could not be read, or one that told an error.
        None: nothing did.

        Laws: where `missing` is "usage" or "end", such an event is kept here in place of being raised, and takes
        nothing back: the kernel delivers the answer, and tells of it. What can be seen to be more of the answer is none
        of it, and raises; so does what could not be read, where more of the answer comes after it. After an error
        nothing more is read (`done`).
        """
        return None


class Provider(ABC):
    """A wire family as a pure codec: no sockets, no awaiting, no clock, no randomness.

    Laws: equal arguments give equal results; no method changes the provider; no credential is seen but by `authorize`.
    """

    family: ClassVar[str]
    """The wire it speaks; also a key of `ChatRequest.extra`, and the mark on provider-bound parts."""
    significant_headers: frozenset[str] = frozenset()
    """Lower-case names of request headers that can change the answer although they are among those that usually do not
    (`penstock.policy.cache_key.WITHOUT_INFLUENCE`): all others are part of the cache key anyway."""
    idempotency_header: ClassVar[str | None] = None
    """The lower-case name of the header in which its servers take an idempotency key. None: they take none.

    Laws: the kernel adds it, after `authorize`, and `encode` does not, except where the target's own headers name it:
    then that value is sent. All attempts of one call at one target that send the same body carry the same key; another
    call, target or body has another. It is no part of the cache key.
    """

    @abstractmethod
    def encode(self, request: ChatRequest, target: Target, *, stream: bool, now: float) -> WireRequest:
        """The request on the wire, without credential. `now` is Unix time.

        Raises UnsendableRequestError where this wire has no way to say it.
        """

    @abstractmethod
    def authorize(self, wire: WireRequest, secret: str | None, *, now: float) -> WireRequest:
        """The same with the credential added; `secret` is None where the provider needs none."""

    @abstractmethod
    def input_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Input tokens the provider will not exceed for this request. None: no bound exists."""

    def output_bound(self, request: ChatRequest, target: Target) -> int | None:
        """Output tokens, reasoning and all choices included, that the wire request allows. None: no bound exists.

        Asked with other messages than those that are sent: nothing may depend on them.
        """
        del target
        return request.max_tokens

    def own_max_tokens(self, target: Target) -> int | None:
        """Output tokens of one answer that the target's own `params` ask for. None: they name no figure.

        A budget puts no larger one in their place. Wires that call it otherwise than `max_tokens` say so here.
        """
        figure: object = target.params.get("max_tokens")
        return figure if type(figure) is int else None

    def own_thinking(self, target: Target) -> bool | None:
        """Whether the target's own `params` ask the model to think, in the words of this wire. None: neither way.

        A model that thinks is given more time before it speaks, and a whole answer of it is streamed: what the request
        says of thinking comes first, then this, then what `capabilities` know of the model. Law: True and False only
        for what `encode` sends. The default knows no words.
        """
        del target
        return None

    @abstractmethod
    def decode(self, response: WireResponse) -> Completion:
        """The answer of a whole 2xx response.

        Raises a ProviderError where the body tells of an error, MalformedResponseError where it is no answer.
        """

    @abstractmethod
    def decoder(self, head: WireHead) -> StreamDecoder:
        """A decoder for the body that follows a 2xx head of a streamed request."""

    @abstractmethod
    def classify(self, response: WireResponse, *, now: float) -> ProviderError:
        """The error that a response other than 2xx tells. Never raises, whatever the body holds. `now` is Unix time."""

    def unsupported(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """The request's own parameters that this target cannot take beside the others, or not with these values.

        For what does not follow from `capabilities` alone: a temperature beside thinking, thinking beside a forced
        tool. Words as in `on_unsupported`: seed, top_p, temperature, stop, thinking, parallel_tool_calls, tool_choice,
        tools, vision, schema. Law: a parameter that `encode` leaves out is named here or denied by `capabilities`.
        Of what the messages say nothing may depend: for requests that differ in their text alone it is asked once.
        """
        del request, target
        return frozenset()

    def kind(self, target: Target) -> Hashable:
        """Equal for targets that are all the same to `input_bound`, `output_bound` and `unsupported`, for any request.

        Where equal, the kernel asks about one of them for all: a route may be long. None, the default: it tells none.
        A class that answers one of these in a way of its own says this anew; what it inherits is not asked for.
        """
        del target
        return None

    def text_kind(self, target: Target) -> Hashable:
        """Equal for targets that count text alike.

        To all of them `input_bound` is the same number for a request of text alone that names no more than
        `max_tokens`, `temperature`, `top_p` and `seed`. Where one cuts it off, that is by the `context_window` of its
        `capabilities`. Where equal, the kernel asks about the dearest of them for all. None, the default: tells none.
        A class that has an `input_bound` of its own says this of it anew; what it inherits is not asked for.
        """
        del target
        return None

    def adapted(self, request: ChatRequest, target: Target) -> frozenset[str]:
        """What `encode` says in other words than the request does, so that this wire takes it: the kernel tells of it.

        Words as in the event `RequestAdapted`: tools_declared, tool_errors_in_words, thinking_reduced, or others.
        Asked once `unsupported` has nothing to say. Law: there is nothing to tell of a request whose messages are text
        alone and that names neither tools nor thinking, whatever the text.
        """
        del request, target
        return frozenset()

    @abstractmethod
    def capabilities(self, model: str) -> Capabilities:
        """What the model can do; careful guesses for models it does not know."""
