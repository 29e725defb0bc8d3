"""Ids of tool calls in the form that a wire demands.

Each wire makes ids of its own kind and refuses some of the others': Anthropic's takes letters, digits, `_` and `-`;
OpenAI's at most 40 characters; Mistral's exactly nine letters and digits. An id is made new only where it does not fit.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from hashlib import blake2b

from penstock.types import ToolCallIdForm

__all__ = ["fits", "remapped"]

LETTERS = string.digits + string.ascii_letters
_TAKEN_BY_ALL = frozenset(LETTERS)
LENGTH = 24
"""Characters of a new id where the form leaves the choice: as long as OpenAI's own, without their `call_`."""


def fits(id: str, form: ToolCallIdForm) -> bool:
    """Whether the wire takes the id as it is."""
    if len(id) < form.shortest or (form.longest is not None and len(id) > form.longest):
        return False
    return form.symbols is None or all(letter in _TAKEN_BY_ALL or letter in form.symbols for letter in id)


def remapped(ids: Iterable[str], form: ToolCallIdForm) -> dict[str, str]:
    """New ids for those that do not fit, the others left out of it.

    Laws: equal ids are given equal new ones, different ids different ones, and none that already stands in the
    conversation. A new id depends on the old one alone, so that the same conversation is the same question tomorrow;
    only where two would meet does the order count.
    """
    known = dict.fromkeys(ids)
    taken = {id for id in known if fits(id, form)}
    new: dict[str, str] = {}
    for id in known:
        if id not in taken:
            new[id] = _free(id, form, taken.union(new.values()))
    return new


def _free(id: str, form: ToolCallIdForm, taken: set[str]) -> str:
    length = max(form.shortest, LENGTH if form.longest is None else min(form.longest, LENGTH))
    attempt = 0
    while (made := _made(id, attempt, length)) in taken:
        attempt += 1
    return made


def _made(id: str, attempt: int, length: int) -> str:
    """Letters and digits drawn from a hash of the id: as many as are wanted, each nearly evenly."""
    made = ""
    block = 0
    while len(made) < length:
        seed = f"{attempt}/{block}/{id}".encode(errors="surrogatepass")
        number = int.from_bytes(blake2b(seed, digest_size=32).digest())
        for _ in range(min(length - len(made), 40)):  # 62**40 is far below 2**256: the digits stay even
            number, digit = divmod(number, len(LETTERS))
            made += LETTERS[digit]
        block += 1
    return made
