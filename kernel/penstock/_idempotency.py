"""Idempotency keys: by them a provider tells a request that is sent again from one that is made again.

Not here: which header carries one (`Provider.idempotency_header`), and when a request is sent again (`_call`).
"""

from __future__ import annotations

import os

__all__ = ["IdempotencyKeys"]

KEY_BYTES = 16
"""128 random bits, as many as a UUID holds: nobody guesses one, and no two processes draw the same."""


class IdempotencyKeys:
    """Those of one call.

    Law: equal for the same target and body, and for nothing else. They are drawn, not made from what is asked: nobody
    can find out from one what the prompt was, nor whether two calls asked the same.
    """

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        # At most one for each attempt of the call. Bodies are compared, which is free where there is one: hashing
        # them would cost a call with images more than all the rest.
        self._drawn: tuple[tuple[str, bytes, str], ...] = ()

    def key(self, target: str, body: bytes) -> str:
        """The key of every attempt that sends this body to this target: 32 hexadecimal digits."""
        for known_target, known_body, key in self._drawn:
            if known_target == target and known_body == body:
                return key
        key = os.urandom(KEY_BYTES).hex()
        self._drawn += ((target, body, key),)
        return key
