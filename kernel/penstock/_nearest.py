"""Names for error messages: what there is, and which of them was probably meant.

Pure. What may be a key in the place of a name is not shown. Not here: how a mistake is collected and told
(`_config_mistakes`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from penstock._key_shapes import name_without_keys

__all__ = ["did_you_mean", "is_slip", "nearest", "one_of", "quoted"]

LONGEST_NAME = 200
"""difflib takes quadratic time, and nobody misspells a name of this length."""
MOST_NAMES = 20
CERTAIN = 0.8


def quoted(name: str) -> str:
    """The name as a sentence can hold it: callers make up names of any length."""
    told = name_without_keys(name)
    return repr(told) if len(told) <= LONGEST_NAME else f"{told[:LONGEST_NAME]!r}..."


def nearest(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The name that is most like `name`, None where none is."""
    if len(name) > LONGEST_NAME:
        return None
    folded = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=cutoff)
    return folded[found[0]] if found else None


def is_slip(name: str, names: Iterable[str]) -> bool:
    """True where `name` is surely meant to be one of `names`, and not one that a program will bring along.

    A name that holds a known one ("my-openai") was made up on purpose.
    """
    near = nearest(name, names, cutoff=CERTAIN)
    return near is not None and near not in name


def one_of(names: Iterable[str], *, ids: bool = False) -> str:
    """The names in a row, shortened where there are very many. `ids`: they may be ids of something, which are shown."""
    known = sorted(name_without_keys(name, ids=ids) for name in names)
    shown = ", ".join(known[:MOST_NAMES])
    return f"{shown} and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else shown or "none"


def did_you_mean(name: str, names: Iterable[str], *, ids: bool = False) -> str:
    """What to add to the sentence that `name` is unknown: the nearest name and all valid ones. `ids` as in `one_of`."""
    known = list(names)
    near = nearest(name, (each for each in known if name_without_keys(each, ids=ids) == each))
    return f"{f'; did you mean {near!r}?' if near else ';'} valid: {one_of(known, ids=ids)}"
