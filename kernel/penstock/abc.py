"""What outsiders implement: Provider and its StreamDecoder, and CacheStore.

Every class states its laws; `penstock.testing` checks them against any implementation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from penstock._request import ChatRequest
from penstock._response import Chunk, Completion
from penstock._wire import Capabilities, Target, WireHead, WireRequest, WireResponse
from penstock.errors import ProviderError

__all__ = ["CacheStore", "CacheStoreStatistics", "Provider", "StoredEntry", "StreamDecoder"]


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
    def close(self) -> None:
        """The bytes have ended. Raises StreamBrokenError if the stream did not end as its wire says it must."""

    @property
    @abstractmethod
    def completion(self) -> Completion:
        """The whole answer after `close`; before it, and after a failure, what there is so far."""

    @property
    def done(self) -> bool:
        """True once the wire's own end was read: nothing that follows matters, and the kernel need not wait for it."""
        return False


class Provider(ABC):
    """A wire family as a pure codec: no sockets, no awaiting, no clock, no randomness.

    Laws: equal arguments give equal results; no method changes the provider; no credential is seen but by `authorize`.
    """

    family: ClassVar[str]
    """The wire it speaks; also a key of `ChatRequest.extra`, and the mark on provider-bound parts."""
    significant_headers: frozenset[str] = frozenset()
    """Lower-case names of the request headers that can change the answer: they are part of the cache key."""
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

    @abstractmethod
    def capabilities(self, model: str) -> Capabilities:
        """What the model can do; careful guesses for models it does not know."""


class StoredEntry(Struct, frozen=True):
    """What a store keeps under a key: bytes that mean nothing to it, and until when (Unix time) they are of use."""

    key: str
    """A tenant's prefix, then the key itself; ASCII, at most 200 characters."""
    sealed: bytes
    keep_until: float


class CacheStoreStatistics(Struct, frozen=True, kw_only=True):
    """A store at one moment, as far as it knows."""

    entries: int
    bytes: int | None = None
    """None: it cannot tell."""
    evictions: int | None = None
    """Entries that gave way to others before their time was over; None: it cannot tell."""


class CacheStore(ABC):
    """The second level of the cache: answers that outlive the process, or are shared with others.

    Laws: `get` gives what the last `put` of exactly that key left, or None; never another key's, and never one whose
    `keep_until` has passed. `put` replaces, and may be repeated; an entry that is too large for the store is left out
    without an error, and an older one under its key is then gone too. The store keeps to its own bounds: it evicts.
    What another version of the store has left is never read. Every method may be called by many tasks at once, ends
    soon where its caller is cancelled, and leaves the store usable then. It never waits for a lock of another process
    longer than a moment. An error means nothing but "not now": the kernel takes it for a miss, leaves the store alone
    for a while, and asks again; so a store heals by itself, and raises where it cannot answer instead of waiting.
    """

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """What is kept under the key; None: nothing. Raises whatever went wrong."""

    @abstractmethod
    async def put(self, entries: Sequence[StoredEntry]) -> None:
        """Keeps the entries; of two with one key the last. Raises where not all of them could be kept."""

    @abstractmethod
    async def purge(self, prefix: str = "") -> int:
        """Removes every entry whose key begins with `prefix`; says how many there were."""

    @abstractmethod
    async def newest(self, prefix: str, most: int) -> Sequence[StoredEntry]:
        """Some of the entries whose key begins with `prefix`, at most so many; the newest, where it can tell."""

    @abstractmethod
    async def statistics(self) -> CacheStoreStatistics:
        """What is in it."""

    shares_flights: ClassVar[bool] = False
    """True where `claim` lets one process ask upstream while the others wait for its answer."""

    async def claim(self, key: str, owner: str, lease: float) -> bool:
        """True where `owner` is now the one who asks upstream for the key, for `lease` seconds. Again: it is renewed.

        False: somebody else is, and its lease has not ended.
        """
        del key, owner, lease
        return True

    async def release(self, key: str, owner: str) -> None:
        """`owner` asks no longer; nothing where it was somebody else."""
        del key, owner
