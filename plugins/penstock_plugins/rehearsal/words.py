"""The words by which tests name faults.

Not here: the faults (`faults`). A word is the tag that scripts use, with hyphens or underscores, or one of the few
other names below; whoever needs a fault's settings gives the fault itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from penstock_plugins.rehearsal import faults
from penstock_plugins.rehearsal.faults import ALL, Fault, fault_name

__all__ = ["WORDS", "fault_of"]

_OTHER_NAMES: Mapping[str, Fault] = {
    "silence": faults.SilentBeforeHead(),
    "server_error": faults.ServerFailure(),
    "rate_limited": faults.RateLimit(),
    "quota_exhausted": faults.Quota(),
    "authentication": faults.WrongKey(),
    "connect": faults.Refused(),
    "malformed": faults.MalformedChunk(),
    "truncated": faults.CutStream(),
}
"""Mostly the kinds of penstock's errors that the faults end in."""

WORDS: Mapping[str, Fault] = {**{fault_name(kind()).replace("-", "_"): kind() for kind in ALL}, **_OTHER_NAMES}
"""Every word, with underscores."""


def fault_of(named: str | Fault) -> Fault:
    """The fault of that word, as it is without settings. Raises ValueError that lists the words."""
    if not isinstance(named, str):
        return named
    word = named.strip().lower().replace("-", "_").replace(" ", "_")
    if word in WORDS:
        return WORDS[word]
    near = get_close_matches(word, WORDS, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no fault named {named!r}{meant} (there are: {', '.join(sorted(WORDS))})")
