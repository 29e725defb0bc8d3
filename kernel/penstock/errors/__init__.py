"""Every error penstock raises, grouped by what the caller may do next.

    PenstockError
    +- CallError                    .attempts .retry_after .usage .cost .request_id
    |  +- RejectedError             refused here: where .attempts is empty, nothing was sent
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
    |  |  +- InvalidRequestError  ContextLengthError  ContentFilteredError  RefusedError  GenerationFailedError
    |  +- TransportError            unknown whether it arrived
    |  |  +- ConnectError              not sent
    |  |  +- ConnectionLostError       the connection ended before a whole response came
    |  |  +- StreamBrokenError         a stream ended before its end: .partial
    |  |  |  +- BudgetCutError            cut here: more was served than the call's hold
    |  |  +- MalformedResponseError    what came is not what the provider's wire says
    |  |  +- AttemptTimeoutError
    |  |     +- ConnectTimeoutError  FirstTokenTimeoutError  IdleTimeoutError  TooSlowError  TotalTimeoutError
    |  +- CascadeExhaustedError     several targets were tried: .errors
    |  +- CodecFailedError          a bug in a provider plugin
    |  +- OutputInvalidError        a validator said no: .paths .last_output
    |  +- DeadlineExceededError     the call's own time was up
    +- ConfigError                  .mistakes: path, value, what is valid, nearest name
    +- PluginError
    |  +- PluginLoadError  PluginVersionError  CacheStoreError
    +- KernelError
       +- KernelClosedError
       +- ActorFailedError          a bug in penstock

Messages name what was attempted, with what, and what to do. They hold no credentials and no prompts of ours; a
provider's own sentence is quoted, shortened, with the credential of the attempt removed.
"""

from __future__ import annotations

from penstock.errors._call import (
    BudgetExceededError,
    CallError,
    CascadeExhaustedError,
    CircuitOpenError,
    CodecFailedError,
    DeadlineExceededError,
    LedgerUnavailableError,
    NoRouteError,
    OutputInvalidError,
    OverloadedLocallyError,
    PenstockError,
    RejectedError,
)
from penstock.errors._call import replica as replica
from penstock.errors._kernel import (
    ActorFailedError,
    CacheStoreError,
    ConfigError,
    ConfigMistake,
    KernelClosedError,
    KernelError,
    PluginError,
    PluginLoadError,
    PluginVersionError,
)
from penstock.errors._provider import (
    AuthenticationError,
    ContentFilteredError,
    ContextLengthError,
    GenerationFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ParameterDemandedError,
    PermissionDeniedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitedError,
    RefusedError,
    ServerError,
    UnsendableRequestError,
    UnsupportedParameterError,
)
from penstock.errors._transport import (
    AttemptTimeoutError,
    BudgetCutError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    IdleTimeoutError,
    MalformedResponseError,
    StreamBrokenError,
    TooSlowError,
    TotalTimeoutError,
    TransportError,
)

__all__ = [
    "ActorFailedError",
    "AttemptTimeoutError",
    "AuthenticationError",
    "BudgetCutError",
    "BudgetExceededError",
    "CacheStoreError",
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
    "GenerationFailedError",
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

for _name in __all__:
    # Where they are looked for, and what a traceback names; the files are only how they are kept.
    globals()[_name].__module__ = __name__
