"""Exchanges that broke, and the timeouts of an attempt: nobody knows whether the request arrived, as a rule."""

from __future__ import annotations

from typing import Unpack

from penstock.errors._call import CallError, Told

__all__ = [
    "AttemptTimeoutError",
    "BudgetCutError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "FirstTokenTimeoutError",
    "IdleTimeoutError",
    "MalformedResponseError",
    "StreamBrokenError",
    "TooSlowError",
    "TotalTimeoutError",
    "TransportError",
]


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


class BudgetCutError(StreamBrokenError):
    """The answer was cut here, for it had used more than its call's hold: the provider did not keep `max_tokens`.

    `partial` is the text up to there. It is final: no other attempt is paid for. Raised by `complete` too, where the
    answer was streamed upstream. (An answer that keeps to what a budget allowed it ends in a response with
    `finish_reason` "length" and `capped_by` "budget".)
    """

    kind = "budget_cut"
    says = "the answer used more than the call's hold, and was cut"


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
