"""Calls of tools that a model writes as text, of tools that the caller offered for other things than the value.

Such a call is no value, whatever its arguments would do for. Not here: the call of the tool that was offered for the
value (`json_wrappers`), and calls that a provider sends as such (the codecs).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from penstock.policy.json_envelopes import ARGUMENTS, NAMES_OF_TOOLS, OF_CALLS
from penstock.policy.json_notation import line_before
from penstock.policy.json_values import Json, is_array, is_object

__all__ = ["OtherTools"]

LONGEST_MARK = 200
"""Characters before a value in which it may say whose arguments they are."""
MOST_CALLS = 64
DEEPEST_CALL = 4
"""The calls of a message, a list of them, the function of one, what that says."""
_NAMES = (*NAMES_OF_TOOLS, "call", "command", "method")
"""How an object says which tool it calls. A type may have the last three without being like a call."""
_WORDS = re.compile(r"[A-Za-z]+")
_OF_MARKS = frozenset(
    {
        "action",
        "args",
        "argument",
        "arguments",
        "begin",
        "call",
        "code",
        "commentary",
        "constrain",
        "following",
        "function",
        "id",
        "input",
    }
    | {"first", "json", "message", "now", "parameters", "sep", "the", "these", "this", "tool", "tools", "with"}
)
"""What stands between the name of a tool and its arguments, in the forms of several models and vendors."""
_OF_SENTENCES = frozenset({"call", "function", "json", "tool"})
"""The same where a sentence ends with the name: `According to the get_weather tool:`."""
# What makes a mark of a name that may be any word.
_LEADS = re.compile(
    r"""(?:\b(?:to|function)=|\bfunctions?\.|\bname=|\[TOOL_CALLS\]|(?:^|\n)[ \t]{0,20}\[|[|>]|</?"""
    # `Tool:`, `**Tool call 1:**`, `"action":`; not `Source tool:`, `Tools used:`.
    r"""|(?:^|[\n.!?,;{(])(?:[^\w\n.!?,;{(]|_)*+"""
    r"""(?:(?:action|call|function|next|step|to|tool|use)(?![a-z])[ _\d]*+)++["'*]{0,4}:)"""
    r"""[\s*`"']{0,20}\Z""",
    re.IGNORECASE,
)
_FOLLOWS = re.compile(r"""[\s*`"']{0,20}+(?:\(|\[ARGS\]|action[ _]input\b|<\|)""", re.IGNORECASE)
_BETWEEN = r"[\W_]++(?:(?:a|and|function|my|the|this|tool|your)[\W_]++)*+"
# What stands right before a name that is called: `Calling`, `I'll look it up with`, `Arguments for the tool`.
_CALLS = re.compile(
    r"(?<![^\W_])(?:(?P<verb>call|invoke|use|run|execute|(?:call|execut|invok|runn|us)ing)|(?P<aid>with|via)"
    rf"|(?P<noun>calls?|arguments|args|parameters|params|input)\s+(?:for|of|to)){_BETWEEN}\Z",
    re.IGNORECASE,
)
# Who says such a thing is about to do it; `not`, or what is done already, speaks against that. (`I can look it up
# with`; not `I can confirm it with`, `I have confirmed it by calling`.)
_MEANS_TO = re.compile(
    r"\b(?:i|we)(?:['’](?:d|ll|m|re)|\s+(?:am|are|must|need|shall|should|want|will|would))\b"
    r"|\b(?:i|we)\s+(?:can|could|have)(?:\s+(?:also|first|just|now|then))?+(?:\s+to\b|[\W_]*+\Z)"
    r"|\b(?:i|we)\s+can\b(?!['’])(?!\s+(?:(?:also|now)\s+)?+(?:confirm|give|report|say|see|tell|verify)\b)"
    r"|\b(?:i|we)\s+could\s+(?:also|check|look|perhaps|try|use)\b"
    r"|\blet(?:\s+me|\s+us|['’]?s)\b|\bis\s+to\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:cannot|instead|never|no|not|unable|without)\b|n['’]t\b", re.IGNORECASE)
_DONE = re.compile(rf"\b(?:\w+[^\We]ed|done|found|got|made|after|from|of|on)(?:[\W_]+by)?{_BETWEEN}\Z", re.IGNORECASE)
_REPLIES = re.compile(rf"\b(?:answer|output|reply|response|result)s?+\s+to{_BETWEEN}\Z", re.IGNORECASE)
"""`The response to my call to get_weather`: what it gave."""
_BEGINS_ANEW = re.compile(r"(?:call|execut|invok|runn)ing", re.IGNORECASE)
_OPENERS = frozenset({"and", "first", "next", "now", "ok", "okay", "please", "so", "sure", "then"})
_SENTENCES = re.compile(r"[.!?;:](?!\w)")


def _announces(line: str) -> bool:
    """True for what says, right before the name of a tool, that it is called now: by the beginning of a sentence, or by
    who means to do it. Not for how something was found, or need not be: `Retrieved using`, `without calling`.
    """
    sentence = _SENTENCES.split(line)[-1]
    calls = _CALLS.search(sentence)
    if calls is None:
        return False
    before = sentence[: calls.start()]
    if _DONE.search(f"{before} "):
        return False
    if calls["noun"]:
        return not (calls["noun"].lower().startswith("call") and _REPLIES.search(f"{before} "))
    if calls["verb"]:
        # `I cannot tell, calling` begins anew; `To verify it, call` and `I know it, using` do not.
        clause = before.rpartition(",")[2] if _BEGINS_ANEW.match(calls["verb"]) else before
        if all(word.lower() in _OPENERS for word in _WORDS.findall(clause)):
            return True
    means = [*_MEANS_TO.finditer(before)]
    return bool(means) and _NOT.search(before, means[-1].end()) is None


class OtherTools:
    """Those of one request, by their names."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._in_small_letters = frozenset(name.lower() for name in names)
        listed = "|".join(re.escape(name) for name in sorted(self._names, key=len, reverse=True))
        self._named = re.compile(rf"(?<![\w.-])(?:functions?\.)?({listed})(?![\w-])") if listed else None

    def called_by(self, value: Json, depth: int = DEEPEST_CALL) -> bool:
        """True for the call of one, or for a list or a message that has one."""
        if not self._names or not depth:
            return False
        if is_array(value):
            return any(self.called_by(each, depth - 1) for each in value[:MOST_CALLS])
        if not is_object(value):
            return False
        if len(value) == 1 and any(name in self._names and is_object(held) for name, held in value.items()):
            return True
        # Beside nothing but the arguments, whatever the name stands under.
        names = _NAMES if len(value) > 2 else value
        if any(self._is_name(value.get(name)) for name in names) and not value.keys().isdisjoint(ARGUMENTS):
            return True
        return any(self.called_by(value.get(name), depth - 1) for name in OF_CALLS)

    def _is_name(self, said: Json) -> bool:
        if not isinstance(said, str):
            return False
        small = said.lower()
        return small in self._in_small_letters or small.rpartition(".")[2] in self._in_small_letters

    def marked_before(self, text: str, start: int) -> bool:
        """True where what stands before a value says that these are the arguments of one: `<function=search>`."""
        if self._named is None:
            return False
        before = text[max(0, start - LONGEST_MARK) : start]
        said = [*self._named.finditer(before)]
        if not said:
            return False
        last = said[-1]
        between = before[last.end() :]
        words = {word.lower() for word in _WORDS.findall(between)}
        if not words <= _OF_MARKS:
            return False
        line = line_before(before, last.start(), LONGEST_MARK)
        if _announces(self._named.sub("", line)) or _LEADS.search(before, 0, last.start(1)) or _FOLLOWS.match(between):
            return True
        if not words and between.count("\n") > 1:
            return False
        # A word, or what a sentence ends with: `According to get_weather:`.
        of_sentence = words <= _OF_SENTENCES and "\n" in between and bool(line.strip())
        return not (of_sentence or (last[1].isalpha() and last[1].islower()))
