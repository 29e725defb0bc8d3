"""What providers answer instead of an answer, and requests that are known to be wrong before they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from penstock.errors._call import CallError, RejectedError, Told

__all__ = [
    "AuthenticationError",
    "ContentFilteredError",
    "ContextLengthError",
    "GenerationFailedError",
    "InvalidRequestError",
    "ModelNotFoundError",
    "OverloadedError",
    "ParameterDemandedError",
    "PermissionDeniedError",
    "ProviderError",
    "QuotaExhaustedError",
    "RateLimitedError",
    "RefusedError",
    "ServerError",
    "UnsendableRequestError",
    "UnsupportedParameterError",
]


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
    of_this_request: bool = False
    """What is left is too little for this request alone: smaller ones are still served, and other targets may be."""


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
    """The request is wrong in a way that is known here: it was not sent to the target that it is wrong for."""

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
    """The same for a parameter with `on_unsupported = "fail"`: no other target is asked. Those before it in the cascade
    may have been: see `attempts`.
    """

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


class GenerationFailedError(ProviderError):
    """The provider answered that what its model wrote is no valid tool call, or no JSON: another sample may be."""

    kind = "generation_failed"
    says = "the model wrote what is no valid answer"
