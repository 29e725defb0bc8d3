"""Amounts as the script on the server reckons with them, and how large a figure it can keep exactly.

Its numbers are doubles. So money crosses as whole USD and the nano-USD above them, and what is beyond these bounds is
refused before it is sent: a figure that was rounded would be a limit that is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import ConfigError
from penstock.policy.holds import Amount, Line
from penstock.policy.ledger_steps import WindowUse
from penstock.policy.money import NANO_PER_USD, TOKENS_PER_PRICE, usd_in_words

__all__ = [
    "MOST_ALLOWED",
    "MOST_TOKENS",
    "MOST_USD",
    "amount_from",
    "money_from",
    "packed_amount",
    "packed_line",
    "packed_money",
    "packed_tokens",
    "packed_use",
]

EXACT = 2**53
"""Whole numbers up to this are doubles without loss."""
MOST_TOKENS = 10**12
"""In one step. Thousands of such steps add up exactly."""
MOST_ALLOWED = 10**15
"""Tokens as a limit, and as an allowance of output: more than any target gives."""
MOST_USD = 10**12
"""In one step and as a limit."""


def packed_amount(amount: Amount) -> tuple[int, int, int]:
    """Tokens, whole USD, nano-USD. Raises ValueError for what is negative, ConfigError for what is too large."""
    return packed_tokens(amount.tokens), *packed_money(amount.nano_usd)


def packed_money(nano_usd: int) -> tuple[int, int]:
    """Whole USD, rounded down, and the nano-USD above them."""
    usd, nano = divmod(nano_usd, NANO_PER_USD)
    if usd < 0:
        raise ValueError(f"{nano_usd} nano-USD is negative")
    if usd > MOST_USD:
        raise ConfigError(
            f"[ledger] store = redis: {usd_in_words(nano_usd)} USD cannot be kept exactly there; use amounts of up to"
            f" {MOST_USD} USD, or another store"
        )
    return usd, nano


def packed_use(use: WindowUse) -> tuple[object, ...]:
    """A window with its limits."""
    tokens = False if use.limit_tokens is None else packed_tokens(use.limit_tokens, most=MOST_ALLOWED)
    usd, nano = (False, False) if use.limit_nano_usd is None else packed_money(use.limit_nano_usd)
    return use.key, use.end, use.rolling, tokens, usd, nano, use.by_estimate


def packed_line(line: Line, most: int) -> tuple[int, ...]:
    """A line of which at most `most` output tokens are asked; its rate in two parts, so that products stay exact."""
    whole, rest = divmod(line.output_nano_per_million, TOKENS_PER_PRICE)
    given = packed_tokens(min(most, line.max_output))
    if given * max(whole + 1, rest) >= EXACT:
        raise ConfigError(
            f"[ledger] store = redis: {given} output tokens at {usd_in_words(line.output_nano_per_million)} USD per"
            " million cannot be kept exactly there; lower max_output or max_tokens, or use another store"
        )
    return packed_tokens(line.input_tokens), *packed_money(line.input_nano_usd), whole, rest, given


def amount_from(packed: Sequence[int]) -> Amount:
    """An amount of an answer."""
    return Amount(packed[0], money_from(packed[1:]))


def money_from(packed: Sequence[int]) -> int:
    """Nano-USD."""
    return packed[0] * NANO_PER_USD + packed[1]


def packed_tokens(tokens: int, *, most: int = MOST_TOKENS) -> int:
    """A number of tokens. Raises ConfigError for what is too large."""
    if tokens < 0:
        raise ValueError(f"{tokens} tokens is negative")
    if tokens > most:
        raise ConfigError(
            f"[ledger] store = redis: {tokens} tokens cannot be kept exactly there; use numbers up to {most}, or"
            " another store"
        )
    return tokens
