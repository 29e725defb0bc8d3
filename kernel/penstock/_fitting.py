"""One call and what its targets can take: the request fitted to each of them once, and what was left out, told once.

Not here: what fits (`policy.fitting`), and what a target can take (its codec).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import cast

import attrs

from penstock._edge import broken_codec
from penstock._events import EventHub, ParametersDropped, PartsLeftOut
from penstock._targets import LiveTarget
from penstock.errors import CallError, ParameterDemandedError, UnsupportedParameterError
from penstock.policy.fitting import Fitted, Unfit, UnsupportedRules, fit
from penstock.types import ChatRequest

__all__ = ["CallFitting"]

logger = logging.getLogger("penstock")


@attrs.define(eq=False)
class CallFitting:
    """The requests of one call, one for each stage of its route."""

    call_id: str
    request: ChatRequest
    rules: UnsupportedRules
    events: EventHub
    _fitted: dict[int, Fitted | CallError] = attrs.Factory(dict[int, Fitted | CallError])
    """By stage: a route has no more entries than that."""
    _told: set[str] = attrs.Factory(set[str])
    """Targets of which it was told what they are asked without. A route may come to one twice."""

    def request_for(self, stage: int, target: LiveTarget) -> ChatRequest | CallError:
        """What the target is asked, or why it is not. The first time it is told what was left out. Never raises."""
        fitted = self._fit(stage, target)
        if isinstance(fitted, CallError):
            return fitted
        if (fitted.dropped or fitted.left_out) and target.name not in self._told:
            self._told.add(target.name)
            self._tell(target.name, fitted)
        return fitted.request

    def foreseen(self, stage: int, target: LiveTarget) -> ChatRequest | CallError:
        """The same without telling: what a target would be asked, should the call come to it."""
        fitted = self._fit(stage, target)
        return fitted if isinstance(fitted, CallError) else fitted.request

    def _fit(self, stage: int, target: LiveTarget) -> Fitted | CallError:
        found = self._fitted.get(stage)
        if found is None:
            found = self._fitted[stage] = self._made(target)
        return found

    def _made(self, target: LiveTarget) -> Fitted | CallError:
        codec = target.provider.codec

        def unsupported(request: ChatRequest) -> Collection[str]:
            told: object = codec.unsupported(request, target.wire)
            if not isinstance(told, frozenset | set):
                raise TypeError
            return cast("Collection[str]", told)

        try:
            fitted = fit(
                self.request,
                target.capabilities,
                codec.family,
                target.wire.provider,
                self.rules,
                unsupported=unsupported,
            )
        except CallError as error:
            return error
        except (Exception, SystemExit) as bug:  # noqa: BLE001 - foreign code; fit itself calls nothing that fails
            return broken_codec(target.name, bug)
        if isinstance(fitted, Unfit):
            kind = UnsupportedParameterError if fitted.rule == "next" else ParameterDemandedError
            says = f'{target.name} {fitted.says}; on_unsupported = "{fitted.rule}"'
            return kind(says, parameters=fitted.parameters)
        return fitted

    def _tell(self, target: str, fitted: Fitted) -> None:
        kinds = tuple(dict.fromkeys(fitted.left_out))
        logger.debug(
            "call %s: %s is asked without %s", self.call_id, target, ", ".join(dict.fromkeys(fitted.dropped + kinds))
        )
        if not self.events.heard:
            return
        if fitted.dropped:
            self.events.emit(ParametersDropped(self.call_id, target, fitted.dropped))
        if kinds:
            self.events.emit(PartsLeftOut(self.call_id, target, kinds, len(fitted.left_out)))
