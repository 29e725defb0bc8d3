"""How accounts are named: paths, and patterns for many of them.

Not here: what is declared for them (accounts).
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["check_path", "check_pattern", "is_pattern", "matches", "path_and_parents"]


def is_pattern(path: str) -> bool:
    """True where it stands for many accounts."""
    return "*" in path.split("/")


def matches(pattern: str, path: str) -> bool:
    """True where what is declared for `pattern` may speak for the account at `path`."""
    own, other = pattern.split("/"), path.split("/")
    return len(own) == len(other) and all(
        mine == theirs or (mine == "*" and theirs != "") for mine, theirs in zip(own, other, strict=True)
    )


def check_path(path: str) -> None:
    """Raises ValueError where `path` is no path of an account."""
    if path and not all(segment and segment == segment.strip() for segment in path.split("/")):
        raise ValueError(f"{path!r} is not the path of an account: names joined by single slashes, or '' for the root")
    if not path.isascii() and any("\ud800" <= character <= "\udfff" for character in path):
        raise ValueError(f"{path!r} holds half a character (a lone surrogate), which no ledger can write down")


def check_pattern(path: str) -> None:
    """Raises ValueError where `path` is neither that of an account nor a pattern for many."""
    check_path(path)
    for segment in path.split("/"):
        if "*" in segment and segment != "*":
            raise ValueError(
                f'{path!r} is no pattern: a * stands for one whole name between slashes ("team/*" for each account'
                ' below team, "*/search" for each one named search), and there are no other patterns'
            )


def path_and_parents(path: str) -> Iterator[str]:
    """The root first, the account itself last."""
    yield ""
    if path:
        end = path.find("/")
        while end != -1:
            yield path[:end]
            end = path.find("/", end + 1)
        yield path
