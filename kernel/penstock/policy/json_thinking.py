"""Where a model thinks aloud in its text: nothing of that is its answer.

In the tags of several models and vendors, and in the channels of one family, with their special tokens or without. Not
here: thinking that a provider sends as such (the codecs).
"""

from __future__ import annotations

import re

from penstock.policy.json_notation import line_before

__all__ = [
    "CLOSING_BEHIND_FIRST",
    "MARKS",
    "OPENING_BEHIND_FIRST",
    "SPOKEN_BEHIND_FIRST",
    "SPOKEN_END",
    "behind_leaked",
    "behind_thought",
    "without_thinking",
]

_TAGS = (
    *("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad", "analysis", "plan"),
    *("reason", "cot", "antthinking", "inner_monologue", "thinking_process", "thought_process"),
)
_VENDORS = ("", "seed:", "antml:")
_NAMES = f"(?:{'|'.join(_VENDORS[1:])})?(?:{'|'.join(_TAGS)})"
OPENING_BEHIND_FIRST = (
    rf"(?:(?<=<)(?i:{_NAMES}>|\|begin_of_thought\|>|\|start_thinking\|>|\|inner_prefix\|>"
    r"|unused94>|\|channel>thought(?=[\s<{\[]|\Z)|\|channel\|>analysis(?=<|\s|\Z))"
    r"|(?<=◁)think▷|(?<=\[)(?i:think\]))"
)
"""What a thought begins with, behind the first character of it: `<`, `[` or `◁`. A tag that says more than its name is
none."""
CLOSING_BEHIND_FIRST = (
    rf"(?:(?<=<)(?i:/{_NAMES}>|\|end_of_thought\|>|\|end_thinking\|>|\|inner_suffix\|>|channel\|>|unused95>)"
    r"|(?<=◁)/think▷|(?<=\[)(?i:/think\]))"
)
"""What a thought ends with, in the same way."""
# The same, each led by the two characters that it begins with: the engine finds those at once, or that there are none.
_CLOSINGS = (re.compile(rf"</(?=[\w:]{{3}})(?i:{_NAMES}>)"), re.compile(r"\[/(?i:think\])"))
_CLOSING_OF_ONE_CASE = "◁/think▷"
_ENDS = {
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
    "<unused94>": "<unused95>",
}
SPOKEN_BEHIND_FIRST = r"(?i:ere(?: i|['’])s my thought process:)"
"""What one family says before it thinks, as the first words of its text, behind the `H`; and then:"""
SPOKEN_END = re.compile(r"here(?: i|['’])s my response:", re.IGNORECASE)
MARKS = (
    *(f"<{slash}{vendor}{tag}>" for slash in ("", "/") for vendor in _VENDORS for tag in _TAGS),
    *("◁think▷", "◁/think▷", "[think]", "[/think]", *_ENDS, *_ENDS.values()),
    *("<|channel|>analysis<", "<|channel|>final", "<|channel|>commentary", "<|end|>"),
    *(f"here{is_} my {what}:" for is_ in (" is", "'s", "’s") for what in ("thought process", "response")),
)
"""All of them, in small letters: for whoever has only the beginning of one."""
_NEXT_CHANNEL = re.compile(r"<\|end\|>|<\|channel\|>")
# As in `I do not use <think> tags`: a word in a sentence. A thought begins on its own, or takes over.
_SPOKEN_OF = re.compile(r"[ \t]++[^\s<{\[]|[`\"'.,;:)]")
# The special tokens of channels are gone, and what they stood between is one text.
_LEAKED = re.compile(r"\s*+analysis(?=[A-Z\s])")
_LEAKED_FINAL = "assistantfinal"
_SPOKEN = re.compile(rf"[\s*_#]*+[Hh]{SPOKEN_BEHIND_FIRST}")


def behind_thought(text: str, start: int, end: int, never: set[str]) -> int | None:
    """Where the text goes on behind the thought whose opening stands from `start` to `end`; None where it has no end.

    `never`: openings for which an end was looked for before in this text, and not found. It is kept here.
    """
    opening = text[start:end].lower()
    at = None if opening in never else _end_of(opening, text, end)
    if at is None:
        never.add(opening)
        return end if _is_spoken_of(text, start, end) else None
    return at


def _end_of(opening: str, text: str, at: int) -> int | None:
    if opening.startswith("<|channel|"):
        channel = _NEXT_CHANNEL.search(text, at)
        # What opens the next channel is looked at again: it may be another thought.
        return None if channel is None else channel.start() if channel[0] == "<|channel|>" else channel.end()
    closing = _ENDS.get(opening) or f"{opening[0]}/{opening[1:]}"
    found = re.compile(re.escape(closing), re.IGNORECASE).search(text, at)
    return None if found is None else found.end()


def _is_spoken_of(text: str, start: int, end: int) -> bool:
    line = line_before(text, start, 200).strip(" \t`\"'*")
    return bool(line) and not line.endswith(">") and _SPOKEN_OF.match(text, end) is not None


def behind_leaked(text: str) -> int:
    """Where the answer begins behind thinking without tokens: 0 where there is none, the end where there is no
    answer.
    """
    if _SPOKEN.match(text) is not None:
        end = SPOKEN_END.search(text)
        return len(text) if end is None else end.end()
    if _LEAKED.match(text) is None:
        return 0
    final = text.rfind(_LEAKED_FINAL)
    return 0 if final < 0 else final + len(_LEAKED_FINAL)


def without_thinking(text: str) -> str:
    """What stands behind the last thought that ends."""
    last = behind_leaked(text)
    for named in _ENDS.values():
        for written in (named, named.upper()):
            end = text.rfind(written, last)
            if end >= 0:
                last = end + len(written)
    for closings in _CLOSINGS:
        for closing in closings.finditer(text, last):
            last = closing.end()
    end = text.rfind(_CLOSING_OF_ONE_CASE, last)
    if end >= 0:
        last = end + len(_CLOSING_OF_ONE_CASE)
    return text[last:]
