"""Every error penstock raises, grouped by what the caller may do next.

    PenstockError
    +- CallError                    .attempts .retry_after .usage .cost .request_id
    |  +- RejectedError             nothing was sent
    |  |  +- BudgetExceededError       raise the limit, wait for .retry_after, or ask for less
    |  |  +- CircuitOpenError          wait for .retry_after
    |  |  +- OverloadedLocallyError    this process is full: shed load
    |  |  +- LedgerUnavailableError    the ledger's store is down: repair it, or let calls through (on_store_down)
    |  |  +- NoRouteError              no such route or target, or none of its targets may take the request
    |  |  +- UnsendableRequestError    the request itself is wrong (it is an InvalidRequestError too)
    |  |     +- UnsupportedParameterError  no target can take a parameter: .parameters
    |  |        +- ParameterDemandedError     the same where on_unsupported says "fail"
    |  +- ProviderError             they answered: .status .code .should_retry
    |  |  +- RateLimitedError  QuotaExhaustedError  OverloadedError  ServerError
    |  |  +- AuthenticationError  PermissionDeniedError  ModelNotFoundError
    |  |  +- InvalidRequestError  ContextLengthError  ContentFilteredError  RefusedError
    |  +- TransportError            unknown whether it arrived
    |  |  +- ConnectError              not sent
    |  |  +- ConnectionLostError       the connection ended before a whole response came
    |  |  +- StreamBrokenError         a stream ended before its end: .partial
    |  |  +- MalformedResponseError    what came is not what the provider's wire says
    |  |  +- AttemptTimeoutError
    |  |     +- ConnectTimeoutError  FirstTokenTimeoutError  IdleTimeoutError  TooSlowError  TotalTimeoutError
    |  +- CascadeExhaustedError     several targets were tried: .errors
    |  +- CodecFailedError          a bug in a provider plugin
    |  +- OutputInvalidError        a validator said no: .paths .last_output
    |  +- DeadlineExceededError     the call's own time was up
    +- ConfigError                  .mistakes: path, value, what is valid, nearest name
    +- PluginError
    |  +- PluginLoadError  PluginVersionError
    +- KernelError
       +- KernelClosedError
       +- ActorFailedError          a bug in penstock

Messages name what was attempted, with what, and what to do. They hold no credentials and no prompts of ours; a
provider's own sentence is quoted, shortened, with the credential of the attempt removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, TypedDict, Unpack

if TYPE_CHECKING:
    from penstock._response import Attempt, Usage

__all__ = [
    "ActorFailedError",
    "AttemptTimeoutError",
    "AuthenticationError",
    "BudgetExceededError",
    "CallError",
    "CascadeExhaustedError",
    "CircuitOpenError",
    "CodecFailedError",
    "ConfigError",
    "ConfigMistake",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "ContentFilteredError",
    "ContextLengthError",
    "DeadlineExceededError",
    "FirstTokenTimeoutError",
    "IdleTimeoutError",
    "InvalidRequestError",
    "KernelClosedError",
    "KernelError",
    "LedgerUnavailableError",
    "MalformedResponseError",
    "ModelNotFoundError",
    "NoRouteError",
    "OutputInvalidError",
    "OverloadedError",
    "OverloadedLocallyError",
    "ParameterDemandedError",
    "PenstockError",
    "PermissionDeniedError",
    "PluginError",
    "PluginLoadError",
    "PluginVersionError",
    "ProviderError",
    "QuotaExhaustedError",
    "RateLimitedError",
    "RefusedError",
    "RejectedError",
    "ServerError",
    "StreamBrokenError",
    "TooSlowError",
    "TotalTimeoutError",
    "TransportError",
    "UnsendableRequestError",
    "UnsupportedParameterError",
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
    """This process refused: nothing was sent, nothing was spent."""

    kind = "rejected"
    says = "the call was refused here; nothing was sent"


class BudgetExceededError(RejectedError):
    """A limit of ours, not the provider's. Names the account, what is missing and when the window refills."""

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


class ProviderError(CallError):
    """The provider answered with an error. `status` is the HTTP status, `code` the provider's own word for it."""

    kind = "provider_error"
    says = "the provider answered with an error"

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        should_retry: bool | None = None,
        **told: Unpack[Told],
    ) -> None:
        super().__init__(message, **told)
        self.status = status
        self.code = code
        self.should_retry = should_retry


class RateLimitedError(ProviderError):
    """Too many requests or tokens for now; waiting helps."""

    kind = "rate_limited"
    says = "the provider's rate limit was reached"


class QuotaExhaustedError(ProviderError):
    """Money, credit or a quota is used up; waiting a little does not help."""

    kind = "quota_exhausted"
    says = "the provider's quota, credit or spend limit is used up"


class OverloadedError(ProviderError):
    """The provider has too much to do."""

    kind = "overloaded"
    says = "the provider is overloaded"


class ServerError(ProviderError):
    """The provider failed (5xx, 408, 409, 425)."""

    kind = "server_error"
    says = "the provider failed"


class AuthenticationError(ProviderError):
    """The key is wrong, missing or revoked."""

    kind = "authentication"
    says = "the provider does not accept the key"


class PermissionDeniedError(ProviderError):
    """The key is right but may not do this."""

    kind = "permission_denied"
    says = "the provider does not permit this to the key"


class ModelNotFoundError(ProviderError):
    """No such model or deployment, or not for this key."""

    kind = "model_not_found"
    says = "the provider does not know the model"


class InvalidRequestError(ProviderError):
    """The provider will never accept this request as it is."""

    kind = "invalid_request"
    says = "the provider does not accept the request"


class UnsendableRequestError(RejectedError, InvalidRequestError):
    """The request is wrong in a way that is known here; nothing was sent."""

    kind = "unsendable"
    says = "the request cannot be sent"


class UnsupportedParameterError(UnsendableRequestError):
    """A target cannot take what is asked, and it may not be left out: the target is passed over.

    `parameters` are named as in `on_unsupported`.
    """

    kind = "unsupported"
    says = "the target cannot take a parameter of the request"

    def __init__(self, message: str = "", *, parameters: Sequence[str] = (), **told: Unpack[Told]) -> None:
        super().__init__(message, **told)
        self.parameters: tuple[str, ...] = tuple(parameters)


class ParameterDemandedError(UnsupportedParameterError):
    """The same for a parameter with `on_unsupported = "fail"`: no other target is asked."""

    kind = "parameter_demanded"
    says = "a target came up that cannot take a parameter which is demanded"


class ContextLengthError(ProviderError):
    """The prompt, with the answer asked for, exceeds the model's context window."""

    kind = "context_length"
    says = "the prompt is longer than the model's context window"


class ContentFilteredError(ProviderError):
    """A content filter blocked the prompt or the answer."""

    kind = "content_filtered"
    says = "the provider's content filter blocked the request"


class RefusedError(ProviderError):
    """The model refused to answer."""

    kind = "refused"
    says = "the model refused to answer"


class TransportError(CallError):
    """The exchange broke: it is unknown whether the request arrived and will be billed."""

    kind = "transport"
    says = "the exchange with the provider broke"


class ConnectError(TransportError):
    """No connection: refused, no address, or TLS failed. Nothing was sent."""

    kind = "connect"
    says = "no connection to the provider"


class ConnectionLostError(TransportError):
    """The connection was closed or reset before a whole response came.

    `reused` tells that the connection had served an exchange before and broke before any byte of this response:
    the server closed it while idle, and the request was most probably never read.
    """

    kind = "connection_lost"
    says = "the connection ended before the response did"

    def __init__(self, message: str = "", *, reused: bool = False) -> None:
        super().__init__(message)
        self.reused = reused


class StreamBrokenError(TransportError):
    """A stream ended before its end. `partial` is the text that came; `usage` is what is known of its cost."""

    kind = "truncated"
    says = "the stream ended before its end"

    def __init__(
        self,
        message: str = "",
        *,
        partial: str = "",
        **told: Unpack[Told],
    ) -> None:
        super().__init__(message, **told)
        self.partial = partial


class MalformedResponseError(TransportError):
    """What came is not what the provider's wire says: no HTTP, HTML, broken JSON, a body that is cut."""

    kind = "malformed"
    says = "the response is not what the provider's wire says"


class AttemptTimeoutError(TransportError):
    """A timeout of one attempt fired; the call may go on elsewhere."""

    kind = "timeout"
    says = "the attempt took too long"


class ConnectTimeoutError(AttemptTimeoutError):
    """No connection within `connect` seconds."""

    kind = "connect_timeout"
    says = "no connection within the connect timeout"


class FirstTokenTimeoutError(AttemptTimeoutError):
    """No first token within `first_token` seconds."""

    kind = "first_token_timeout"
    says = "no first token within its timeout"


class IdleTimeoutError(AttemptTimeoutError):
    """Nothing came, or nothing could be written, for too long."""

    kind = "idle_timeout"
    says = "the provider fell silent"


class TooSlowError(AttemptTimeoutError):
    """The stream stayed below the minimum throughput."""

    kind = "too_slow"
    says = "the stream is slower than the minimum throughput"


class TotalTimeoutError(AttemptTimeoutError):
    """The attempt was not over within `total` seconds."""

    kind = "total_timeout"
    says = "the attempt was not over within its total timeout"


class CascadeExhaustedError(CallError):
    """Several targets were tried and none answered. `errors` holds each attempt's error; `__cause__` is the last."""

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
    """A validator said no. `paths` names where; `last_output` is what the model wrote."""

    kind = "output_invalid"
    says = "the answer is not valid"

    def __init__(self, message: str = "", *, paths: Sequence[str] = (), last_output: str = "") -> None:
        super().__init__(message)
        self.paths: tuple[str, ...] = tuple(paths)
        self.last_output = last_output


class DeadlineExceededError(CallError):
    """The call's own time was up before the answer was complete. `partial` is the text a stream had delivered."""

    kind = "deadline_exceeded"
    says = "the call's time was up"
    partial: str = ""


class ConfigMistake:
    """One mistake: `path` in the configuration, and a sentence that says what is wrong and what is valid."""

    __slots__ = ("path", "says")

    def __init__(self, path: str, says: str) -> None:
        self.path = path
        self.says = says

    def __repr__(self) -> str:
        return f"ConfigMistake({self.path!r}, {self.says!r})"

    def __str__(self) -> str:
        return f"{self.path}: {self.says}" if self.path else self.says


class ConfigError(PenstockError):
    """The configuration is wrong. `mistakes` holds all of them; `source` is the file, if any."""

    def __init__(self, mistakes: Sequence[ConfigMistake] | str, *, source: str | None = None) -> None:
        self.mistakes = (ConfigMistake("", mistakes),) if isinstance(mistakes, str) else tuple(mistakes)
        self.source = source
        where = f"{source}: " if source else ""
        lines = [str(mistake) for mistake in self.mistakes]
        if len(lines) == 1:
            super().__init__(where + lines[0])
        else:
            super().__init__(f"{where}{len(lines)} mistakes in the configuration:\n  " + "\n  ".join(lines))


class PluginError(PenstockError):
    """A plugin could not be used; the message names it and its distribution."""


class PluginLoadError(PluginError):
    """A plugin failed to import, to register or to open."""


class PluginVersionError(PluginError):
    """A plugin was written for another version of the plugin interface."""


class KernelError(PenstockError):
    """Something about the kernel itself."""


class KernelClosedError(KernelError):
    """The kernel is shut down or shutting down; the call did not end."""


class ActorFailedError(KernelError):
    """An actor of the kernel broke: a bug in penstock, never the caller's or the provider's fault."""
