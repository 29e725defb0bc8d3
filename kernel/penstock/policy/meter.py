"""The meter of a running stream: the second fence, for a provider that does not keep the first one, `max_tokens`.

Not here: what an attempt may cost (`bound`, `holds`), who reads the stream, and what is charged in the end.

A provider that keeps `max_tokens` never meets it: an answer that ends exactly at its hold is within it. What comes
beyond is seen late where nothing is reported before the end. Then only bytes count, 16 of them a token, and no text is
so thrifty: an answer of 4 bytes a token is cut at four times its hold; with a tokenizer it is cut at its hold. The read
that crosses the line is served whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

from msgspec import Struct

from penstock.policy.bound import BYTES_PER_TOKEN
from penstock.policy.holds import Amount
from penstock.policy.money import cost
from penstock.types import Price, Usage

__all__ = ["Meter", "StreamedText"]


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
    count: Callable[[str], int | None] | None = None
    """What counts the tokens of a text exactly; it tells None once it has broken."""

    def text(self) -> StreamedText | None:
        """What is to count the stream exactly; None where nothing can."""
        return None if self.count is None else StreamedText(self.count, self.most_output)

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


class StreamedText:
    """What has come of a stream, counted by its tokenizer: as seldom as is safe, for that reads all of it anew.

    No token is shorter than a byte. So while fewer bytes came since the last count than tokens were left then, nothing
    can be over: a stream is counted the oftener the nearer it is to its hold, and most are never counted.
    """

    __slots__ = ("_bytes", "_count", "_count_at", "_most", "_texts", "_tokens")

    def __init__(self, count: Callable[[str], int | None], most_output: int) -> None:
        self._count = count
        self._most = most_output
        # Each part of the answer is counted as a whole, as it was written: pieces by themselves come to more tokens.
        self._texts: dict[Hashable, list[str]] = {}
        self._bytes = 0
        self._count_at: float = most_output
        """Bytes from which on it has to be counted again."""
        self._tokens: int | None = 0

    def add(self, part: Hashable, text: str, size: int) -> None:
        """More of one part of the answer, of so many bytes."""
        self._texts.setdefault(part, []).append(text)
        self._bytes += size

    def is_over(self) -> bool:
        """True where more tokens came than the output may have. False, too, where the tokenizer has broken."""
        if self._bytes > self._count_at:
            tokens = self.tokens()
            self._count_at = math.inf if tokens is None else self._bytes + self._most - tokens
        return self._tokens is not None and self._tokens > self._most

    def tokens(self) -> int | None:
        """All that came, counted now; None where the tokenizer has broken."""
        self._tokens = 0
        for part, pieces in self._texts.items():
            text = "".join(pieces)
            self._texts[part] = [text]
            counted = self._count(text)
            if counted is None:
                self._tokens = None
                break
            self._tokens += counted
        return self._tokens
