"""The base of all errors, and those of calls that are neither a provider's word nor a broken exchange."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from penstock._response import Attempt, Usage

__all__ = [
    "BudgetExceededError",
    "CallError",
    "CascadeExhaustedError",
    "CircuitOpenError",
    "CodecFailedError",
    "DeadlineExceededError",
    "LedgerUnavailableError",
    "NoRouteError",
    "OutputInvalidError",
    "OverloadedLocallyError",
    "PenstockError",
    "RejectedError",
    "Told",
    "replica",
]


class PenstockError(Exception):
    """The base of all of them."""


class Told(TypedDict, total=False):
    """What every CallError can tell, as keywords."""

    attempts: Sequence[Attempt]
    retry_after: float | None
    usage: Usage | None
    cost: Decimal | None
    request_id: str | None


class CallError(PenstockError):
    """A call that did not end in a response.

    `attempts` lists every upstream exchange the call made; `usage` and `cost` are what they cost together (`cost` in
    USD, None where a price is unknown). `retry_after` is in seconds: not earlier than that; None where not
    known.
    `request_id` is the provider's name for the exchange that decided.
    """

    kind: ClassVar[str] = "error"
    """The name of this error in attempts, logs and metrics: the key of the error-action table."""
    says: ClassVar[str] = "the call failed"

    def __init__(self, message: str = "", **told: Unpack[Told]) -> None:
        super().__init__(message or self.says)
        self.attempts: tuple[Attempt, ...] = tuple(told.get("attempts", ()))
        self.retry_after = told.get("retry_after")
        self.usage = told.get("usage")
        self.cost = told.get("cost")
        self.request_id = told.get("request_id")
        if unknown := told.keys() - Told.__annotations__:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(sorted(unknown))}")


def replica(error: CallError) -> CallError:
    """Another of the same, for another call to raise and sign. Its constructor is not called: a plugin's may differ."""
    copied: CallError = type(error).__new__(type(error))
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied


class RejectedError(CallError):
    """This process refused the call, or to go on with it.

    Where `attempts` is empty, nothing was sent and nothing was spent. Else it was a retry, a fallback or a repair that
    was refused: what was sent before is in `attempts`, and what it came to in `usage` and `cost`.
    """

    kind = "rejected"
    says = "the call was refused here"


class BudgetExceededError(RejectedError):
    """A limit of ours, not the provider's. Names the account, what is missing and when the window refills.

    `basis` says by what it was judged: the most that the request can come to ("bound"), or a guess ("estimate"); and
    `missing_..._otherwise` what would be missing by the other: 0 in both units where it would fit.
    """

    kind = "budget_exceeded"
    says = "a budget limit of this process does not allow the call"

    def __init__(
        self,
        message: str = "",
        *,
        account: str = "",
        limit: str = "",
        missing_tokens: int = 0,
        missing_nano_usd: int = 0,
        refills_at: float | None = None,
        basis: Literal["bound", "estimate"] = "bound",
        missing_tokens_otherwise: int = 0,
        missing_nano_usd_otherwise: int = 0,
        **told: Unpack[Told],
    ) -> None:
        super().__init__(message, **told)
        self.account = account
        """Whose limit it is; the root's is ""."""
        self.limit = limit
        """In words; "" where it is no figure of a limit that refuses."""
        self.missing_tokens = missing_tokens
        self.missing_nano_usd = missing_nano_usd
        self.refills_at = refills_at
        """When what is missing is there again, if nothing else is spent (Unix time); None: not known, or never."""
        self.basis: Literal["bound", "estimate"] = basis
        self.missing_tokens_otherwise = missing_tokens_otherwise
        self.missing_nano_usd_otherwise = missing_nano_usd_otherwise


class CircuitOpenError(RejectedError):
    """Every target that could take the call is known to be failing; `retry_after` is the first probe."""

    kind = "circuit_open"
    says = "the circuit breakers of all targets are open"


class OverloadedLocallyError(RejectedError):
    """The call's time ended while it waited for one of `max_in_flight` places."""

    kind = "overloaded_locally"
    says = "this process has as many calls in flight as it may"


class LedgerUnavailableError(RejectedError):
    """The ledger store cannot be reached or does not work, and calls are not let through without it."""

    kind = "ledger_unavailable"
    says = "the ledger store is not available"


class NoRouteError(RejectedError):
    """No such route or target, or no target of the route may take this request."""

    kind = "no_route"
    says = "no target can take the call"


class CascadeExhaustedError(CallError):
    """Several targets were tried and none answered. `errors` holds each attempt's error.

    `__cause__` is the last of them; where some speak of the request (invalid, too long, filtered), the last of those.
    """

    kind = "exhausted"
    says = "every target of the route failed"

    def __init__(
        self,
        message: str = "",
        *,
        errors: Sequence[CallError] = (),
        **told: Unpack[Told],
    ) -> None:
        super().__init__(message, **told)
        self.errors: tuple[CallError, ...] = tuple(errors)


class CodecFailedError(CallError):
    """The codec of a provider plugin broke on the request or the response: a bug in that plugin."""

    kind = "codec"
    says = "the provider's codec broke"


class OutputInvalidError(CallError):
    """The answer is not what was asked for. `paths` names where; `last_output` is what the model wrote.

    Its text holds no word of the model's: of a path it shows the names that the schema has, and `[...]` for others.
    """

    kind = "output_invalid"
    says = "the answer is not valid"

    def __init__(
        self, message: str = "", *, paths: Sequence[str] = (), last_output: str = "", **told: Unpack[Told]
    ) -> None:
        super().__init__(message, **told)
        self.paths: tuple[str, ...] = tuple(paths)
        self.last_output = last_output
        self.fault: object = None
        """What the kernel goes by when it asks again."""


class DeadlineExceededError(CallError):
    """The call's own time was up before the answer was complete. `partial` is the text a stream had delivered."""

    kind = "deadline_exceeded"
    says = "the call's time was up"
    partial: str = ""
