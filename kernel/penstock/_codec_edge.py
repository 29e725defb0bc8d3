"""The codec of one exchange, asked: what it returns is checked, and what it raises is made fit to be shown.

The edge where a provider plugin's results become ours. Not here: how foreign exceptions are translated (`_edge`).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import ParamSpec, TypeGuard, TypeVar, cast

import attrs
import msgspec

from penstock._codec_results import flaw_of_completion, without_nulls
from penstock._edge import broken_codec, discreet, without_secret
from penstock._foreign import interruptible, let_through
from penstock._live_target import LiveTarget
from penstock.abc import Provider
from penstock.errors import (
    BudgetCutError,
    CallError,
    CodecFailedError,
    InvalidRequestError,
    ProviderError,
    RejectedError,
    ServerError,
    TransportError,
)
from penstock.types import MOST_TOKENS, Completion, Usage, WireResponse

__all__ = ["CodecEdge"]

NAMED_STATUSES = frozenset({400, 401, 403, 404, 413, 422})
"""Statuses that mean what they say, whatever `x-should-retry` adds."""
WRITTEN_FOR_NOTHING = 1_000
"""Characters that no answer of no output tokens has. Shorter ones there are: the sentence of a guardrail, in the place
of a model's answer, costs nothing."""

_COUNTS: Callable[[Usage], tuple[object, ...]] = attrgetter(*(set(Usage.__struct_fields__) - {"kinds"}))

_Result = TypeVar("_Result")
_Asked = ParamSpec("_Asked")


@attrs.define(eq=False)
class CodecEdge:
    """The codec of one target, as one exchange asks it."""

    live: LiveTarget
    wall: Callable[[], float]
    secret: str | None = attrs.field(default=None, repr=False)
    """The credential of the exchange: no error may quote it."""
    request_id: str | None = None
    """The provider's name for the exchange, as soon as something tells it."""
    answered: bool = False
    """A head has come."""
    disbelieved: bool = False
    """It told counts that cannot be right."""

    @property
    def target(self) -> str:
        """The target's name, for errors."""
        return self.live.name

    @property
    def codec(self) -> Provider:
        """The codec of the target's provider."""
        return self.live.provider.codec

    @interruptible
    def call(self, ask: Callable[_Asked, _Result], *args: _Asked.args, **kwargs: _Asked.kwargs) -> _Result:
        """What the codec returns. Raises a CallError, whatever it raises."""
        failure: CallError
        try:
            return ask(*args, **kwargs)
        except CallError as error:
            failure = error if self._may_say(error) else broken_codec(self.target, error)
        except BaseException as bug:  # noqa: BLE001 - foreign code; even one that exits must not end us
            let_through(bug)
            failure = broken_codec(self.target, bug)
        # Raised out here, so that no context holds what the bug said.
        try:
            raise self.discreet(failure)
        finally:
            del failure  # it holds this frame: together they would wait for the garbage collector

    def _may_say(self, error: CallError) -> bool:
        """False for what a codec cannot know: once there is an answer, that nothing was sent, or how the call ends."""
        if not self.answered:
            return True
        told = isinstance(error, ProviderError | TransportError | CodecFailedError)
        return told and not isinstance(error, RejectedError | BudgetCutError)

    def told(self, ask: Callable[[], object], kind: type[_Result]) -> _Result:
        """What the codec says, where it is what its class promises."""
        return self.checked(self.call(ask), kind)

    def checked(self, told: object, kind: type[_Result]) -> _Result:
        """The same of what it has said already."""
        if isinstance(told, kind):
            return told
        raise broken_codec(self.target, f"{type(told).__name__} in place of {kind.__name__}")

    def sound(self, flaw: str | None) -> None:
        """What it returned was looked into. Raises the codec's fault where something was found."""
        if flaw is not None:
            raise broken_codec(self.target, flaw)

    def discreet(self, error: CallError) -> CallError:
        """The error, with the credential and the target's own headers taken out of what it says."""
        return discreet(error, self.secret, self.target, self.live.wire.headers)

    def decode(self, response: WireResponse) -> Completion:
        """The answer of a whole response. Raises the error that it is, where it is none."""
        if not 200 <= response.status < 300:
            raise self.classify(response)
        return self.completed(self.call(self.codec.decode, response))

    def completed(self, told: object) -> Completion:
        """What a codec read, where it is an answer at all."""
        completion = self.checked(told, Completion)
        flaw = flaw_of_completion(completion)
        if flaw is not None:
            completion = without_nulls(completion)
            flaw = flaw_of_completion(completion)
        self.sound(flaw)
        self.is_named(completion.request_id)
        usage = self.believed(completion.usage)
        costs_nothing = usage is not None and not (usage.output_tokens or usage.estimated)
        if costs_nothing and len(completion.message.text) > WRITTEN_FOR_NOTHING:
            self.disbelieved, usage = True, None
        return completion if usage is completion.usage else msgspec.structs.replace(completion, usage=usage)

    def believed(self, usage: object) -> Usage | None:
        """The counts that a codec read, where they can be right: unknown usage is charged at its bound, wrong usage
        would be charged as it is.
        """
        if usage is None or _is_credible(usage):
            return usage
        self.disbelieved = True
        return None

    def classify(self, response: WireResponse) -> CallError:
        """The error that a response tells."""
        told = self.told(lambda: self.codec.classify(response, now=self.wall()), CallError)
        error = self.discreet(told if self._may_say(told) else broken_codec(self.target, told))
        self.is_named(error.request_id)
        if type(error) is InvalidRequestError and error.should_retry and error.status not in NAMED_STATUSES:
            # A status that no row of the table names, and a server that asks for another try.
            error = ServerError(
                str(error), status=error.status, code=error.code, should_retry=True, retry_after=error.retry_after
            )
        return error

    def is_named(self, request_id: str | None) -> None:
        """The provider has named the exchange."""
        if request_id:
            self.request_id = without_secret(request_id, self.secret, self.live.wire.headers)


def _is_credible(usage: object) -> TypeGuard[Usage]:
    """False for counts that nothing can have used: below zero, or more than any model reads or writes."""
    if not isinstance(usage, Usage):
        return False
    kinds = cast("object", usage.kinds)
    if not isinstance(kinds, dict):
        return False
    if kinds and not all(isinstance(name, str) for name in cast("dict[object, object]", kinds)):
        return False
    for count in (*_COUNTS(usage), *cast("dict[object, object]", kinds).values()):
        if not (isinstance(count, int) and 0 <= count <= MOST_TOKENS):
            return False
    return True
