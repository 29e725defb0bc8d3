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
    | {"json", "message", "parameters", "sep", "the", "tool", "tools", "with"}
)
"""What stands between the name of a tool and its arguments, in the forms of several models and vendors."""
# What makes a mark of a name that may be any word.
_LEADS = re.compile(
    r"""(?:\b(?:to|function)=|\bfunctions?\.|\bname=|\[TOOL_CALLS\]|\baction["'*]{0,4}:|[|>]|</?)[\s*`"']{0,20}\Z""",
    re.IGNORECASE,
)
_FOLLOWS = re.compile(r"""[\s*`"']{0,20}+(?:\(|\[ARGS\]|action[ _]input\b|<\|)""", re.IGNORECASE)
_CALL = r"(?:calls?(?![\s_]+made)|calling|invok(?:e|ing)|use|using|run|running|execut(?:e|ing))(?![^\W_])"
# `Calling get_weather:`, `TOOL_CALL: get_weather`; not `After calling get_weather:`.
_CALLS = re.compile(
    rf"(?<![^\W_]){_CALL}|\b(?P<of_result>(?:after|by|from|of|on)\s+(?:(?:a|function|my|the|this|tool)\s+)*+{_CALL})",
    re.IGNORECASE,
)
_CALLS_THIS = re.compile(rf"(?<![^\W_]){_CALL}(?:[\W_]++(?:a|function|my|the|this|tool))*+[\W_]*+\Z", re.IGNORECASE)


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
        named = any(self._is_name(value.get(name)) for name in _NAMES)
        if named and not value.keys().isdisjoint(ARGUMENTS):
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
        line = line_before(before, last.start(), LONGEST_MARK)
        calls = [each["of_result"] for each in _CALLS.finditer(line)]
        is_called = bool(calls) and not any(calls)
        if not words <= _OF_MARKS or (not words and between.count("\n") > 1 and not is_called):
            return False
        # A word, or what a sentence ends with: `According to get_weather:`.
        of_words = words <= {"json"} and "\n" in between and bool(line.strip()) and not is_called
        plain = of_words or (last[1].isalpha() and last[1].islower())
        if not plain or (is_called and _CALLS_THIS.search(line)):
            return True
        return bool(_LEADS.search(before, 0, last.start(1)) or _FOLLOWS.match(between))
