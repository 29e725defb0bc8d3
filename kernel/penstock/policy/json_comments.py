"""What a comment may hide: content that was never meant as one.

`#AI` and `//cdn.example/a.js` are items that lost their quotes as well as comments; and where all stands on one line, a
comment takes with it the members and brackets behind it. Not here: where comments begin and end (`json_notation`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

__all__ = ["Awaited", "Comments", "seen_in"]


class Awaited(Enum):
    """What should stand where the comments do."""

    MEMBER = auto()
    """Of an object: a name, which no comment looks like."""
    ITEM = auto()
    VALUE = auto()
    """Behind a property's colon."""
    COMMA_OF_MEMBERS = auto()
    COMMA_OF_ITEMS = auto()


class Comments(Struct, frozen=True):
    """What the comments in one place may hide."""

    content: bool
    """They may be content themselves, or hold members."""
    brackets: bool
    """They hold a bracket that may close something."""
    say_none: bool
    """One of them is all there is, and says that there is nothing."""


_COMMENT = re.compile(r"/\*(?:[^*]++|\*(?!/))*+\*/|(?P<sign>//|#)(?P<line>[^\n]*+)")
_PATH = re.compile(r"[\w-]{1,100}+[./]\w")
# Words, and then what only stands between members.
_MEMBERS_BEHIND_WORDS = re.compile(r"""\s*+[^\s"'{\[,][^\n]*?(?:,\s*+["{\[]|"[^"\n]{0,200}+"\s*+[:,}\]])""")
# Where an object is closed behind them, words of the schema's are no members: `// one of "low", "high"`.
_NAMED_BEHIND_WORDS = re.compile(r"""\s*+[^\s"'{\[,][^\n]*?,\s*+"[^"\n]{0,200}+"\s*+:""")
_BRACKET = re.compile(r"[{}\[\]]")
_NONE = re.compile(
    r"\b(?:no|none|nothing|empty|not any|n/a|keine?|nichts|leer|aucune?|rien|vide|ning[uú]n[oa]?|nada|vac[ií][oa]"
    r"|nenhuma?|vazi[oa]|nessun[oa]?|vuot[oa]|нет|пусто)\b|无|無|空|なし|없음",
    re.IGNORECASE,
)
_LISTS = re.compile(r"[,;:\d]")
_LONGEST_NONE = 120
_FENCE = ("```", "~~~")


def seen_in(text: str, start: int, end: int, awaited: Awaited) -> Comments:
    """What may be hidden in the comments from `start` to `end`, with nothing but space between them."""
    written = list(_COMMENT.finditer(text, start, end))
    ahead = text[end : end + 3]
    is_last = not ahead or ahead in _FENCE or ahead[0] in "}]"
    lines = [each for each in written if each["sign"]]
    return Comments(
        content=any(_may_be_content(each, awaited, is_last=is_last, closed=ahead[:1] == "}") for each in lines),
        brackets=any(map(_holds_bracket, lines)) or (is_last and ahead[:1] not in {"}", "]"} and _goes_on(lines)),
        say_none=len(written) == 1 and _says_none(written[0][0]),
    )


def _may_be_content(comment: re.Match[str], awaited: Awaited, *, is_last: bool, closed: bool) -> bool:
    line = comment["line"].rstrip()
    members = _NAMED_BEHIND_WORDS if closed and not line.endswith(",") else _MEMBERS_BEHIND_WORDS
    if (is_last or line.endswith(",")) and members.match(line):
        return True
    if not line[:1].isalnum():
        return False
    is_path = comment["sign"] == "//" and _PATH.match(line) is not None and " " not in line
    if awaited is Awaited.VALUE:
        return is_path or comment["sign"] == "#"
    if awaited not in {Awaited.ITEM, Awaited.COMMA_OF_ITEMS}:
        return False
    alone = _is_alone(comment)
    if awaited is Awaited.COMMA_OF_ITEMS and not alone:
        return False
    if line.endswith(",") or is_path:
        return True
    return comment["sign"] == "#" and " " not in line and (alone or is_last)


def _says_none(comment: str) -> bool:
    return len(comment) <= _LONGEST_NONE and _NONE.search(comment) is not None and _LISTS.search(comment) is None


def _is_alone(comment: re.Match[str]) -> bool:
    """True where it is the first on its line, or in its list."""
    before = comment.string[max(0, comment.start() - 200) : comment.start()].rstrip(" \t")
    return not before or before[-1] in "\n["


def _holds_bracket(comment: re.Match[str]) -> bool:
    """True for one that closes more than it opens."""
    return any(depth < 0 for depth in _depths(comment["line"]))


def _depths(line: str) -> Iterator[int]:
    depth = 0
    for bracket in _BRACKET.finditer(line):
        depth += 1 if bracket[0] in "{[" else -1
        yield depth


def _goes_on(lines: list[re.Match[str]]) -> bool:
    """True where the last of them may go on with members, in a text that goes on with none."""
    return bool(lines) and "," in lines[-1]["line"]
