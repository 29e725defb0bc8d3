"""One call and what its targets can take: the request fitted to each of them once, and what was left out, told once.

Not here: what fits (`policy.fitting`), and what a target can take (its codec).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import cast

import msgspec
from msgspec import Struct

from penstock._edge import broken_codec
from penstock._events import Event, EventHub, ParametersDropped, PartsLeftOut, RequestAdapted
from penstock._foreign import interruptible, let_through
from penstock._live_target import LiveTarget
from penstock.errors import CallError, ParameterDemandedError, UnsupportedParameterError
from penstock.policy.fitting import Fitted, TooLong, Unfit, UnsupportedRules, fit, too_long
from penstock.policy.shape import Shape, shape_of
from penstock.types import ChatRequest, Completion, Message, Part, ProviderPart, Target, Thinking

__all__ = ["CallFitting", "with_maker"]

logger = logging.getLogger("penstock")

_MARKED = (Thinking, ProviderPart)
"""Parts that are bound to who made them."""


class CallFitting(Struct, eq=False):
    """The requests of one call, one for each stage of its route."""

    call_id: str
    request: ChatRequest
    rules: UnsupportedRules
    events: EventHub
    targets: Sequence[LiveTarget] = ()
    """All of the call: what one of them can write in full, another may have to write in less."""
    _fitted: dict[int, Fitted | CallError] = {}
    """By stage: a route has no more entries than that."""
    _told: frozenset[Event] = frozenset()
    _as_it_is: Fitted | None = None
    """The request for every target that takes it as it is: one for all of them."""
    shape: Shape | None = None
    """That of the request; None where it has none."""

    def __post_init__(self) -> None:
        self.shape = shape_of(self.request)

    def request_for(self, stage: int, target: LiveTarget) -> ChatRequest | CallError:
        """What the target is asked, or why it is not. The first time it is told what was left out. Never raises."""
        fitted = self._fit(stage, target)
        if isinstance(fitted, CallError):
            return fitted
        self._tell(target.name, fitted)
        return fitted.request

    def foreseen(self, stage: int, target: LiveTarget) -> ChatRequest | CallError:
        """The same without telling: what a target would be asked, should the call come to it."""
        fitted = self._fit(stage, target)
        return fitted if isinstance(fitted, CallError) else fitted.request

    def capped(self, stage: int, target: LiveTarget, request: ChatRequest) -> ChatRequest:
        """The fitted request after the budget set `max_tokens` in it: that may leave no room to think.

        Raises a CallError where the rule for what is left out now says so.
        """
        fitted = self._fit(stage, target)
        if isinstance(fitted, CallError) or request is fitted.request:
            return request
        made = self._made(target, request)
        if isinstance(made, CallError):
            raise made
        self._tell(target.name, made)
        return made.request

    def _fit(self, stage: int, target: LiveTarget) -> Fitted | CallError:
        found = self._fitted.get(stage)
        if found is None:
            found = self._fitted[stage] = self._known(target)
        return found

    def _known(self, target: LiveTarget) -> Fitted | CallError:
        """What is asked of the target; found out once for all requests of a shape that fits it as it is.

        Nothing is refused then: so no rule is asked, and what the codec says is told by the shape.
        """
        most = target.capabilities.max_output
        more = None if most is None else self._too_long(target, most)
        if more is not None:
            return self._shortened(target, more)
        shape = self.shape
        if shape is None:
            return self._made(target, self.request)
        if shape in target.fitting:
            if self._as_it_is is None:
                self._as_it_is = Fitted(self.request)
            return self._as_it_is
        made = self._made(target, self.request)
        if isinstance(made, Fitted) and made.request is self.request and not made.adapted:
            target.remember_fitting(shape)
        return made

    def _too_long(self, target: LiveTarget, most: int) -> TooLong | None:
        if not target.may_ask_too_much(self.request.max_tokens):
            return None
        others = (other.capabilities.max_output for other in self.targets)
        return too_long(self.request, most, others, target.output_bound)

    def _shortened(self, target: LiveTarget, more: TooLong) -> Fitted | CallError:
        """Asked for as much as the model can write, where that may be. Who is passed over fails nothing."""
        made = self._made(target, more.lowered)
        unfit = more.judged(self.rules)
        if unfit is not None and (isinstance(made, Fitted | ParameterDemandedError) or unfit.rule == "next"):
            return _unfit_error(target, unfit)
        if isinstance(made, CallError):
            return made
        return msgspec.structs.replace(made, dropped=("max_tokens", *made.dropped))

    @interruptible
    def _made(self, target: LiveTarget, request: ChatRequest) -> Fitted | CallError:
        codec = target.provider.codec

        def unsupported(asked: ChatRequest) -> Collection[str]:
            return _words(codec.unsupported(asked, target.wire))

        try:
            fitted = fit(
                request,
                target.capabilities,
                codec.family,
                target.wire.provider,
                self.rules,
                model=target.wire.model,
                unsupported=unsupported,
            )
            if isinstance(fitted, Fitted):
                adapted = _words(codec.adapted(fitted.request, target.wire))
                return msgspec.structs.replace(fitted, adapted=tuple(sorted(adapted))) if adapted else fitted
        except CallError as error:
            return error
        except BaseException as bug:  # noqa: BLE001 - foreign code; fit itself calls nothing that fails
            let_through(bug)
            return broken_codec(target.name, bug)
        return _unfit_error(target, fitted)

    def _tell(self, target: str, fitted: Fitted) -> None:
        if not (fitted.dropped or fitted.left_out or fitted.adapted):
            return
        news: list[Event] = []
        kinds = tuple(dict.fromkeys(fitted.left_out))
        if fitted.dropped:
            news.append(ParametersDropped(self.call_id, target, fitted.dropped))
        if kinds:
            news.append(PartsLeftOut(self.call_id, target, kinds, len(fitted.left_out)))
        if fitted.adapted:
            news.append(RequestAdapted(self.call_id, target, fitted.adapted))
        # A route may come to a target twice, and a budget may cap what was fitted before.
        news = [event for event in news if event not in self._told]
        self._told = self._told.union(news)
        for event in news:
            self.events.emit(event)
        if news and (without := dict.fromkeys(fitted.dropped + kinds)):
            logger.debug("call %s: %s is asked without %s", self.call_id, target, ", ".join(without))
        if news and fitted.adapted:
            logger.debug("call %s: %s is asked in other words: %s", self.call_id, target, ", ".join(fitted.adapted))


def _words(told: object) -> Collection[str]:
    """What a codec names. Raises TypeError where it is no set."""
    if not isinstance(told, frozenset | set):
        raise TypeError
    return cast("Collection[str]", told)


def _unfit_error(target: LiveTarget, unfit: Unfit) -> UnsupportedParameterError:
    kind = UnsupportedParameterError if unfit.rule == "next" else ParameterDemandedError
    says = f'{target.name} {unfit.says}; on_unsupported = "{unfit.rule}"'
    return kind(says, parameters=unfit.parameters)


def with_maker(completion: Completion, target: Target) -> Completion:
    """The answer with those of its parts marked as the target's that another of the same wire may refuse."""
    message = completion.message
    for part in message.content:
        if isinstance(part, _MARKED):
            break
    else:
        return completion
    content = tuple(_marked(part, target) for part in message.content)
    return msgspec.structs.replace(completion, message=Message(message.role, content, message.name))


def _marked(part: Part, target: Target) -> Part:
    match part:
        case Thinking(model=""):
            return msgspec.structs.replace(part, model=target.model, provider=target.provider)
        case ProviderPart(provider=""):
            return msgspec.structs.replace(part, provider=target.provider)
        case _:
            return part
