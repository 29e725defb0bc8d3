"""Everything a call needs to know of a target, worked out once: its codec, price, capabilities, timeouts and scopes.

Not here: which targets there are (`_targets`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import attrs
import httpx
from msgspec import Struct

from penstock._config_checks import is_header_name
from penstock._foreign import interruptible, let_through
from penstock._secrets import Secret
from penstock.abc import Provider
from penstock.policy.bound import OutputRange
from penstock.policy.money import Dearest, dearest_prices
from penstock.policy.shape import Shape
from penstock.policy.stream_watch import Phases
from penstock.policy.upstream_stream import UpstreamStream, asked_to_think, takes_long
from penstock.types import Capabilities, ChatRequest, Price, Target

__all__ = ["MOST_SHAPES", "LiveProvider", "LiveTarget", "OutputKey", "OutputTerms"]

logger = logging.getLogger("penstock")

MOST_SHAPES = 256
"""Of requests that a target remembers something about: beyond so many all are found out anew. An application sends a
few; one that draws a seed for each call gains nothing, and loses little."""


@interruptible
def _idempotency_header(provider: LiveProvider) -> str | None:
    """The header that the codec names; None where it names what no request can have."""
    named: object = None
    try:
        named = provider.codec.idempotency_header
    except BaseException as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        let_through(bug)
        named = bug
    if named is None or (isinstance(named, str) and is_header_name(named) and named == named.lower()):
        return named
    logger.error("the codec of provider %s has an idempotency_header that is no name: none is sent", provider.name)
    return None


OutputKey: TypeAlias = tuple[Shape | None, int | None, int]
"""A request's shape, where it has one, the cap of its account's limits, the smallest useful answer."""


class OutputTerms(Struct, frozen=True):
    """How the output of requests of one shape is set."""

    outputs: OutputRange
    choices: int
    uncapped: int
    """What `outputs.maximum` would be without an account's limit per request."""


@attrs.frozen(eq=False)
class LiveProvider:
    """A configured provider with its open codec."""

    name: str
    codec: Provider
    secret: Secret | None
    transport: httpx.AsyncBaseTransport
    propagate_trace: bool = False
    """Whether it is told of the trace that a call is part of."""
    idempotency_header: str | None = attrs.field(
        init=False, default=attrs.Factory(_idempotency_header, takes_self=True)
    )
    """Asked for once: codecs are foreign code."""


def _kind(target: LiveTarget) -> object:
    """None where the codec tells none, or what it tells cannot be compared."""

    def ask(codec: Provider) -> Hashable:
        told, able = codec.kind(target.wire), target.capabilities
        return None if told is None else (told, able, target.price, target.default_max_tokens, target.overlong)

    return _told(target, "kind", ask, about=("input_bound", "output_bound", "unsupported"))


def _text_kind(target: LiveTarget) -> object:
    """None likewise."""
    return _told(target, "text_kind", lambda codec: codec.text_kind(target.wire), about=("input_bound",))


@interruptible
def _told(target: LiveTarget, what: str, ask: Callable[[Provider], Hashable], about: Sequence[str]) -> object:
    """What the codec tells, which says nothing beside that of another provider. None where it broke.

    And where its class answers `about` in a way of its own, and leaves what is told to the one that it is made from.
    """
    made_of = type(target.provider.codec).__mro__
    try:
        says, *does = [next(at for at, kind in enumerate(made_of) if name in vars(kind)) for name in (what, *about)]
        if says > min(does):
            return None
        told = ask(target.provider.codec)
        hash(told)
        bool(told == told)  # noqa: PLR0124 - what cannot be compared shall show here
    except BaseException as bug:  # noqa: BLE001 - foreign code: its words could quote anything
        let_through(bug)
        logger.error("the codec of provider %s broke on %s(): %s", target.provider.name, what, type(bug).__name__)  # noqa: TRY400
        return None
    return None if told is None else (target.provider.name, told)


def _overlong(target: LiveTarget) -> bool:
    most = target.capabilities.max_output
    if most is None or not target.wire.params:
        return False
    return (target.output_bound(ChatRequest("?")) or 0) > most


def _own_max_tokens(target: LiveTarget) -> int | None:
    """None where the codec names no figure, or none that could be one."""
    told = _of_own_params(target, lambda codec: codec.own_max_tokens(target.wire))
    return told if isinstance(told, int) and told > 0 else None


def _own_thinking(target: LiveTarget) -> bool | None:
    """None where the codec says nothing of it, or what is no answer."""
    told = _of_own_params(target, lambda codec: codec.own_thinking(target.wire))
    return told if isinstance(told, bool) else None


@interruptible
def _of_own_params(target: LiveTarget, ask: Callable[[Provider], object]) -> object:
    """What the codec says of the target's params. None: there are none, or it broke."""
    if not target.wire.params:
        return None
    try:
        return ask(target.provider.codec)
    except BaseException as error:  # noqa: BLE001 - foreign code; what breaks here shows where it encodes
        let_through(error)
        return None


def _dearest(target: LiveTarget) -> Dearest | None:
    price = target.price
    return None if price is None or price.long is not None or price.timed else dearest_prices(price)


@attrs.frozen(eq=False)
class LiveTarget:
    """Everything a call needs to know of a target, worked out once."""

    name: str
    wire: Target
    provider: LiveProvider
    phases: Phases
    thinking_phases: Phases
    """The timeouts where the model thinks before it speaks."""
    capabilities: Capabilities
    price: Price | None
    upstream_stream: UpstreamStream
    scopes: tuple[str, str, str]
    """Key, target, provider: what breaks and cools."""
    target_share: float
    provider_share: float
    """How many failures one call may have them before it goes to others first, by the settings of their breakers."""
    overlong: bool = attrs.field(init=False, default=attrs.Factory(_overlong, takes_self=True))
    """Its own params ask for more than its model can write."""
    own_max_tokens: int | None = attrs.field(init=False, default=attrs.Factory(_own_max_tokens, takes_self=True))
    """What its own params ask for. None: they name no figure."""
    own_thinking: bool | None = attrs.field(init=False, default=attrs.Factory(_own_thinking, takes_self=True))
    """Whether its own params ask the model to think. None: they say nothing of it."""
    fitting: set[Shape] = attrs.field(init=False, repr=False, factory=set[Shape])
    """Shapes of requests that fit as they are, whatever the rules."""
    outputs: dict[OutputKey, OutputTerms] = attrs.field(init=False, repr=False, factory=dict[OutputKey, OutputTerms])
    """How their output is set."""

    dearest: Dearest | None = attrs.field(init=False, repr=False, default=attrs.Factory(_dearest, takes_self=True))
    """The most that its tokens cost. None: that depends on their number or the time, or its price is not known."""
    kind: object = attrs.field(init=False, default=attrs.Factory(_kind, takes_self=True))
    """Targets of one kind cost the same for every request, by what is known without asking them. None: its own."""
    text_kind: object = attrs.field(init=False, default=attrs.Factory(_text_kind, takes_self=True))
    """Those of one count the tokens of a text alike. None: its own."""

    def remember_fitting(self, shape: Shape) -> None:
        """The target takes requests of that shape as they are: its codec need not be asked again."""
        if len(self.fitting) >= MOST_SHAPES:
            self.fitting.clear()
        self.fitting.add(shape)

    def remember_output(self, key: OutputKey, terms: OutputTerms) -> None:
        """How the output of requests of that shape is set under those rules."""
        if len(self.outputs) >= MOST_SHAPES:
            self.outputs.clear()
        self.outputs[key] = terms

    def is_known(self, key: OutputKey, max_tokens: int | None) -> bool:
        """Whether it takes requests of that shape as they are, and how their output is set is known."""
        return key in self.outputs and key[0] in self.fitting and not self.may_ask_too_much(max_tokens)

    def may_ask_too_much(self, max_tokens: int | None) -> bool:
        """Whether a request that names so much may be asking for more than the model can write."""
        most = self.capabilities.max_output
        return most is not None and (self.overlong if max_tokens is None else max_tokens > most)

    @interruptible
    def output_bound(self, request: ChatRequest) -> int | None:
        """Output tokens that the wire request itself allows; None: nothing bounds them. Never raises."""
        told: object = None
        try:
            told = self.provider.codec.output_bound(request, self.wire)
        except BaseException as error:  # noqa: BLE001 - foreign code; what breaks here shows where it encodes
            let_through(error)
            return None
        return told if isinstance(told, int) and told >= 0 else None

    def phases_for(self, request: ChatRequest) -> Phases:
        """The timeouts of an attempt: longer silences where thinking is asked for, or the model reasons unasked."""
        asked = self.asked_to_think(request)
        thinks = self.capabilities.reasoning if asked is None else asked
        return self.thinking_phases if thinks else self.phases

    def asked_to_think(self, request: ChatRequest) -> bool | None:
        """Whether the model is asked to think, by the request or by its params. None: neither says."""
        return asked_to_think(request, own=self.own_thinking)

    def takes_long(self, request: ChatRequest) -> bool:
        """True where the answer may take minutes, for what the request or its params ask for."""
        thinks = self.asked_to_think(request) or False
        return takes_long(request, thinks=thinks, own_max_tokens=self.own_max_tokens)

    @property
    def default_max_tokens(self) -> int | None:
        """What an answer gets where the request names no figure: by its params, which are sent, else as configured."""
        return self.own_max_tokens or self.wire.default_max_tokens

    @property
    def key(self) -> str:
        """The scope of its key."""
        return self.scopes[0]
