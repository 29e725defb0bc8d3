"""The meter of a running stream: the second fence, for a provider that does not keep the first one, `max_tokens`.

Not here: what an attempt may cost (`bound`, `holds`), who reads the stream, and what is charged in the end.

A provider that keeps `max_tokens` never meets it: an answer that ends exactly at its hold is within it. What comes
beyond is seen late where nothing is reported before the end. Then only bytes count, 16 of them a token, and no text is
so thrifty: an answer of 4 bytes a token is cut at four times its hold. The read that crosses the line is served whole.
"""

from __future__ import annotations

from msgspec import Struct

from penstock.policy.bound import BYTES_PER_TOKEN
from penstock.policy.holds import Amount
from penstock.policy.money import cost
from penstock.types import Price, Usage

__all__ = ["Meter"]


class Meter(Struct, frozen=True):
    """What one attempt may use of its call's hold. Two whole numbers are compared for each read, and nothing else."""

    most: Amount
    """Tokens and money, of input and output together."""
    most_output: int
    """Output tokens, of all choices together."""
    price: Price | None
    """None: it costs no money that anybody counts."""
    at: float | None = None
    """Unix time at which the attempt began: prices may depend on it."""

    @property
    def most_bytes(self) -> int:
        """UTF-8 bytes of text, thinking and arguments that are certainly no more tokens than the output may be.

        At the hold's own price, money is used up no sooner than that.
        """
        return BYTES_PER_TOKEN * (self.most_output + 1) - 1

    def is_over(self, streamed_bytes: int, reported: Usage | None) -> bool:
        """True where more was served than is held, by what was reported so far or by what was streamed."""
        if streamed_bytes > self.most_bytes:
            return True
        if reported is None:
            return False
        return (
            reported.output_tokens > self.most_output
            or reported.total_tokens > self.most.tokens
            or (self.price is not None and cost(reported, self.price, self.at) > self.most.nano_usd)
        )
