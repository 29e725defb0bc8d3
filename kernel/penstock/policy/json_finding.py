"""The JSON value that a model meant, wherever it stands in what the model wrote.

Among prose, fences, thinking, several candidates and trailing text; mended where its notation is damaged
(`json_reading`), and never guessed: where two different values would do, where one may be but an example of another
(`json_rivals` has the rule), or something may be missing, there is none. Linear in the text. Not here: what is asked of
the value beyond its schema (validators), and asking again (`repairing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from penstock.policy.json_envelopes import (
    containers_under_a_name,
    content_of_own_name,
    only_content,
    says_what_it_is_about,
    speaks_of_rows,
    words_under_a_name,
)
from penstock.policy.json_levels import (
    has_bracket_more,
    may_begin_before,
    may_stand_higher,
    may_stand_lower,
    paths_inside,
)
from penstock.policy.json_lines import BETWEEN_LINES, LAST_LINE
from penstock.policy.json_names import names_of_type, plain_name
from penstock.policy.json_notation import Unreadable
from penstock.policy.json_other_calls import OtherTools
from penstock.policy.json_places import Candidate, Places
from penstock.policy.json_rivals import Rivals, Standing, is_all_there_is, is_alone_in, standing
from penstock.policy.json_scalars import LONGEST_WORD, last_line, may_be_instead
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_surroundings import (
    ends_too_early,
    is_begun_before,
    is_example,
    is_labelled,
    is_note,
    misses_its_head,
)
from penstock.policy.json_values import Flaw, Json, frozen, is_array, is_object, json_path
from penstock.policy.json_wholes import Decoded, decoded, read_once
from penstock.policy.json_wrappers import Wrapped, given_by_call, wrapped
from penstock.policy.schema_knowledge import (
    NONE,
    own_words,
    replaced,
    says_nothing,
    schema_at,
    takes_no_more,
    value_at,
)

__all__ = ["Found", "NotFound", "find_json", "is_itself"]

Reason: TypeAlias = Literal["nothing", "damaged", "truncated", "ambiguous", "misfit", "too_deep", "too_long"]


DEEPEST_ENVELOPE = 5
"""The calls of a message, a list of one, its function, the arguments of that, which are a string."""
MOST_MEMBERS = 8_192
"""Of several objects that do not fit: about 20 ms."""
MOST_TOLD = 8
"""Values that do not fit whose flaws are compared."""

WRAPPED = "is none of the names that are asked for, and holds a value or arguments of its own: give the value alone"


CALLED = "is the call of another tool, written as text: give the value"


class Found(Struct, frozen=True):
    """The value. `repairs` name what was mended, in order; none where it stood there as valid JSON."""

    value: Json
    repairs: tuple[str, ...] = ()


class NotFound(Struct, frozen=True):
    """There is no value that is certain to be meant."""

    reason: Reason
    says: str
    flaws: tuple[Flaw, ...] = ()
    """Where the likeliest candidate does not fit the schema."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the flaws."""
        return tuple(flaw.path for flaw in self.flaws)


def find_json(
    text: str,
    schema: Mapping[str, Json] | SchemaCheck | None = None,
    *,
    tool: str = "",
    others: OtherTools | None = None,
) -> Found | NotFound:
    """The value in the text that fits the schema, or why there is none. Raises SchemaError for a wrong schema.

    `tool`: the name under which the model was offered the schema: it may write a call of that as text. `others`: the
    tools that it was offered for other things, whose calls are no values.

    Laws: what is found fits the schema; text that is valid JSON and fits is found as it stands; the same text gives
    the same; the time is linear in the text, and no text raises.
    """
    check = SchemaCheck(schema) if isinstance(schema, Mapping) else schema
    known = read_once(text)
    whole = known.value
    flaws = () if check is None or whole is NONE else check.flaws(whole)
    fits = whole is not NONE and not flaws and not _is_quoted_json(whole, check)
    if fits and others is None and (check is None or is_itself(whole, check, tool)):
        return Found(whole)
    search = _Search(text, check, tool=tool, known=known)
    search.others = others
    search.flaws_of_whole = flaws
    return search.found(whole)


def is_itself(value: Json, check: SchemaCheck, tool: str = "") -> bool:
    """True where what fits is what was asked for: it says something of that, and is not but the wrapper of it."""
    # Nearly always there are names of the schema's own and no others: then no choice within it has to be looked at.
    said: Json = value
    if type(value) is dict and not check.like_a_call and check.names.issuperset(said):
        return True
    return _says(check, value) and wrapped(value, check, tool) is None


def _says(check: SchemaCheck, value: Json) -> bool:
    """True where what fits is not of other names alone than those that are asked for."""
    said = is_object(value) and not value.keys().isdisjoint(check.names)
    return said or not says_nothing(value, check.schema)


def _is_quoted_json(value: Json, check: SchemaCheck | None) -> bool:
    """True for JSON in a JSON string, where nothing says that a string is wanted."""
    return check is None and isinstance(value, str) and value.lstrip()[:1] in {"{", "["}


class _Search(Places):
    """One search through one text."""

    flaws_of_whole: tuple[Flaw, ...] | None = None
    """Where the text is JSON and nothing else: what its value has against the schema, found out once."""
    others: OtherTools | None = None

    def __init__(
        self, text: str, check: SchemaCheck | None, *, tool: str = "", layers: int = 0, known: Decoded | None = None
    ) -> None:
        super().__init__(text, check, layers=layers, known=known)
        self.tool = tool

    def found(self, whole: Json) -> Found | NotFound:
        """The value, or why there is none."""
        if whole is not NONE:
            self.candidates = [Candidate(whole, (), self.text, 0, len(self.text), fenced=False)]
        elif not self.look_at_bare():
            self.look()
            if not self.candidates and not self.failures:
                self.look_for_word()
        return self.chosen()

    def chosen(self) -> Found | NotFound:
        """The one candidate that is meant."""
        certain = [settled for each in self.candidates if (settled := self.settled(each)) is not None]
        calls, others = list[Candidate](), list[Candidate]()
        for each in certain:
            (calls if self.calls_another(each) else others).append(each)
        fitting, misfits = self.read(others)
        misfits = [*misfits, *calls]
        if self.check is None:
            fitting = _most_telling(fitting)
        fitting = [each for each in fitting if not is_note(each) or is_labelled(each)] or fitting
        if not fitting:
            return self.none(certain)
        if len(fitting) > 1 and len({frozen(each.value) for each in fitting}) > 1:
            says = f"the text holds {len(fitting)} different values, and each of them would do"
            return NotFound("ambiguous", says)
        best = min(fitting, key=lambda each: len(each.repairs))
        shown = max(fitting, key=lambda each: (standing(each), each.place))
        doubt = self.rival(shown, misfits) or self.doubt(best)
        return doubt or Found(best.value, tuple(dict.fromkeys((*self.around(best), *best.repairs))))

    def calls_another(self, candidate: Candidate) -> bool:
        """True for the call of another tool than that for the value.

        A type that is like a call may be one itself, and so may what has no names but those of the type.
        """
        if self.others is None:
            return False
        called = self.others.called_by(candidate.value) and not self.is_own(candidate.value)
        return called or self.others.marked_before(candidate.text, candidate.start)

    def is_own(self, value: Json) -> bool:
        """True for what is like the type whatever else it could be: by its names."""
        if self.check is None or self.check.like_a_call:
            return self.check is not None
        if is_array(value):
            named = self.check.item_names.issuperset
            of_type = bool(self.check.item_names) and all(is_object(each) and named(each) for each in value)
        else:
            of_type = bool(self.check.names) and is_object(value) and self.check.names.issuperset(value)
        return of_type and self.fits(value)

    def read(self, certain: list[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
        """Those that fit, as they are or as what they hold; and the others."""
        if self.check is None:
            return [self.unquoted(each) or each for each in certain], []
        direct = [self.fits(each.value) for each in certain]
        if not any(direct) and (joined := self.joined(certain)) is not None:
            opened = self.opened(joined)
            return ([opened], []) if opened is not None else ([], certain)
        if self.are_too_many(certain, direct):
            self.failures.append(Unreadable("too_long", "stands beside too many others", 0))
            return [], certain
        fitting, misfits = list[Candidate](), list[Candidate]()
        for each, fits in zip(certain, direct, strict=True):
            content = self.opened(each) if fits else self.content(each)
            if content is None:
                misfits.append(each)
            else:
                fitting.append(content)
        if not fitting and len(misfits) == 1 and (named := self.named(misfits[0])) is not None:
            return [named], []
        return fitting, misfits

    @staticmethod
    def are_too_many(candidates: list[Candidate], direct: list[bool]) -> bool:
        """True where what does not fit, and may be an envelope, has more members than can be looked at."""
        misfits = [each.value for each, fits in zip(candidates, direct, strict=True) if not fits]
        return len(candidates) > 1 and sum(len(each) for each in misfits if is_object(each)) > MOST_MEMBERS

    def rival(self, best: Candidate, misfits: list[Candidate]) -> NotFound | None:
        """Another thing in the text that may be the answer (`json_rivals`)."""
        rivals = Rivals(best, None if self.check is None else self.check.schema, self.fits)
        for failure in self.failures:
            if rivals.has(failure):
                return NotFound(failure.reason, f"of several values, one {failure.says}")
        for misfit in rivals.among(misfits):
            says = "of several values, one that may be meant does not fit the schema"
            return NotFound("misfit", says, self.flaws(misfit.value))
        if self.check is not None and (self.ends_in_another(best) or rivals.says_otherwise()):
            return NotFound("ambiguous", "the text goes on with another value than the one that fits")
        return None

    def doubt(self, best: Candidate) -> NotFound | None:
        """Why the one value that fits may not be whole."""
        schema = None if self.check is None else self.check.schema
        fits = None if self.check is None else self.fits
        if any(may_stand_higher(best.value, path, schema, fits) for path in best.unclosed):
            return NotFound("ambiguous", "a bracket is missing, and it may be one of several")
        more = has_bracket_more(best.text, best.end)
        if more and (may_stand_lower(best.value, schema, fits) or may_begin_before(best.value, fits)):
            return NotFound("ambiguous", "there is a bracket too many, and it may be one of several")
        if is_begun_before(best.text, best.start):
            return NotFound("truncated", "the JSON may have broken off before another value")
        if is_note(best):
            return NotFound("ambiguous", "the brackets may point to a source, and be no value")
        if misses_its_head(best.text, best.start, best.end) or ends_too_early(best, schema):
            return NotFound("damaged", "the JSON begins or ends before its last property")
        return None

    def around(self, candidate: Candidate) -> Iterator[str]:
        """What stood around the value."""
        if candidate.start == 0 and candidate.end == len(self.text):
            return
        before, after = self.text[: candidate.start].strip(), self.text[candidate.end :].strip()
        if candidate.fenced:
            yield "fence"
        elif before or after:
            yield "prose"

    def fits(self, value: Json) -> bool:
        if self.check is None:
            return True
        known = self.flaws_of_whole if value is self.known.value else None
        return (self.check.fits(value) if known is None else not known) and _says(self.check, value)

    def flaws(self, value: Json) -> tuple[Flaw, ...]:
        """Why it does not fit."""
        if self.check is None:
            return ()
        known = self.flaws_of_whole if value is self.known.value else None
        if wrong := self.check.flaws(value) if known is None else known:
            return wrong
        if says_nothing(value, self.check.schema):
            return (Flaw("$", "has none of the names that are asked for"),)
        found = wrapped(value, self.check, self.tool)
        return () if found is None else (Flaw(json_path(found.place), WRAPPED),)

    def opened(self, candidate: Candidate) -> Candidate | None:
        """What fits, or the value that it is surely the call of a tool with; None where it may be another's wrapper."""
        assert self.check is not None
        found = wrapped(candidate.value, self.check, self.tool)
        return candidate if found is None else self.held_by(found, candidate)

    def held_by(self, found: Wrapped, candidate: Candidate) -> Candidate | None:
        """What a wrapper holds, where that is surely the value."""
        if found.content is NONE:
            return None
        unclosed = paths_inside(candidate.unclosed, found.place)
        repairs = (*candidate.repairs, "envelope")
        return self.opened(msgspec.structs.replace(candidate, value=found.content, repairs=repairs, unclosed=unclosed))

    def settled(self, candidate: Candidate) -> Candidate | None:
        """The candidate where the schema says that nothing is missing; None, and a failure, where something may be."""
        settled = self.completed(candidate)
        if settled is None:
            failure = Unreadable("truncated", "ends where more may have been meant", len(self.text))
            failure.text, failure.start, failure.end = candidate.text, candidate.start, candidate.end
            failure.quoted_at, failure.fenced = candidate.quoted_at, candidate.fenced
            self.failures.append(failure)
        return settled

    def completed(self, candidate: Candidate) -> Candidate | None:
        """The candidate, with the last word whole, where its schema says how it ends."""
        cut = candidate.cut
        if cut is None:
            return candidate
        if self.check is None or not is_object(self.check.schema):
            return None
        schema = schema_at(self.check.schema, cut.path)
        if schema is None:
            return None
        if not cut.inside_string:
            return candidate if takes_no_more(schema, value_at(candidate.value, cut.path)) else None
        above = schema_at(self.check.schema, cut.path[:-1])
        if above is None or not takes_no_more(above, value_at(candidate.value, cut.path[:-1])):
            return None
        begun = value_at(candidate.value, cut.path)
        choices = [word for word in own_words(schema) if word.startswith(begun)]
        if len(choices) != 1:
            return None
        value = replaced(candidate.value, cut.path, choices[0])
        return msgspec.structs.replace(candidate, value=value, repairs=(*candidate.repairs, "completed"), cut=None)

    def joined(self, candidates: list[Candidate]) -> Candidate | None:
        """The list that they are the lines of."""
        if len(candidates) < 2 or not self.are_lines(candidates):
            return None
        value = [each.value for each in candidates]
        if not self.fits(value):
            return None
        repairs = tuple(dict.fromkeys(repair for each in candidates for repair in each.repairs))
        unclosed = tuple((line, *path) for line, each in enumerate(candidates) for path in each.unclosed)
        return msgspec.structs.replace(
            candidates[0], value=value, repairs=("lines", *repairs), end=candidates[-1].end, unclosed=unclosed
        )

    def content(self, candidate: Candidate) -> Candidate | None:
        """What a candidate is an envelope of, or a quotation."""
        assert self.check is not None
        given = given_by_call(candidate.value, self.check, self.tool)
        if given is not None:
            return self.held_by(given, candidate)
        held = candidate
        for _ in range(DEEPEST_ENVELOPE):
            if isinstance(held.value, str):
                return self.unquoted(held)
            if self.others is not None and self.others.called_by(held.value):
                return None
            inner = only_content(held.value, self.check.schema)
            if inner is NONE:
                inner = self.under_own_name(held.value)
            if inner is NONE:
                return None
            place = _place_in(held.value, inner)
            unclosed = paths_inside(held.unclosed, place)
            under = (*held.under, *(name for name in place if isinstance(name, str)))
            repairs = (*candidate.repairs, "envelope")
            held = msgspec.structs.replace(held, value=inner, repairs=repairs, unclosed=unclosed, under=under)
            if self.fits(inner):
                return self.opened(held)
        return None

    def under_own_name(self, value: Json) -> Json:
        """What an envelope with names in common with the type holds."""
        assert self.check is not None
        if not is_object(value) or self.check.names.isdisjoint(value):
            return NONE
        flaws = [flaw.path for flaw in self.check.flaws(value)]
        wrong = {name for name in value if json_path((name,)) in flaws}
        return content_of_own_name(value, self.check.names, self.fits, wrong)

    def named(self, candidate: Candidate) -> Candidate | None:
        """What is asked for, under one name of the model's own, where nothing else could be meant."""
        assert self.check is not None
        if self.check.names or self.check.item_names or standing(candidate) < Standing.ALONE:
            return None
        held = words_under_a_name(candidate.value)
        if held is NONE:
            held = containers_under_a_name(candidate.value)
            # It may be the one row itself.
            if is_array(held) and self.fits([candidate.value]) and not speaks_of_rows(candidate.value):
                return None
        if held is NONE or not self.fits(held):
            return None
        # A word of the schema's is told by itself; any text may be meant for anything.
        listed = is_array(held) or is_object(held) or held in self.words
        if not listed and (says_what_it_is_about(candidate.value) or not is_all_there_is(candidate, self.text)):
            return None
        repairs = (*candidate.repairs, "envelope")
        return msgspec.structs.replace(
            candidate, value=held, repairs=repairs, unclosed=(), under=tuple(candidate.value)
        )

    def unquoted(self, candidate: Candidate) -> Candidate | None:
        """JSON in a JSON string."""
        quoted = candidate.value
        if not isinstance(quoted, str) or self.layers >= 2 or not ("{" in quoted or "[" in quoted):
            return None
        inner = _Search(quoted, self.check, tool=self.tool, layers=self.layers + 1)
        inner.allowance, inner.others = self.allowance, self.others
        found = inner.found(decoded(quoted))
        if not isinstance(found, Found) or ("envelope" in candidate.repairs and "prose" in found.repairs):
            return None
        repairs = (*candidate.repairs, "quoted", *found.repairs)
        return msgspec.structs.replace(candidate, value=found.value, repairs=repairs, unclosed=())

    def are_lines(self, candidates: list[Candidate]) -> bool:
        """True where nothing but space and commas stands between them, and nothing beside them says that there are
        more.
        """
        first, last = candidates[0], candidates[-1]
        if any(each.text is not first.text for each in candidates):
            return False
        before = first.text[first.text.rfind("\n", 0, first.start) + 1 : first.start]
        return (
            not self.failures
            and not before.strip()
            and LAST_LINE.match(first.text, last.end) is not None
            and all(BETWEEN_LINES.match(first.text[one.end : next_.start]) for one, next_ in pairwise(candidates))
        )

    def ends_in_another(self, best: Candidate) -> bool:
        """True where the last line is null, or a scalar that could be said in the place of the value."""
        last, label = last_line(self.text, self.words)
        if last is not None:
            return last is not NONE and is_alone_in(best.value, last)
        if best.value is None or self.check is None:
            return False
        under = {plain_name(name) for name in best.under if len(name) <= LONGEST_WORD}
        names = under | names_of_type(self.check.schema)
        return may_be_instead(best.value, label, names, shown=is_example(best))

    def none(self, certain: list[Candidate]) -> NotFound:
        """Why there is no value: what is wrong with the likeliest candidate."""
        flaws: tuple[Flaw, ...] = ()
        for each in certain[:MOST_TOLD]:
            wrong = self.flaws(each.value) or ((Flaw("$", CALLED),) if self.calls_another(each) else ())
            if not flaws or (wrong and len(wrong) < len(flaws)):
                flaws = wrong
        if flaws and not any(failure.reason == "truncated" for failure in self.failures):
            return NotFound("misfit", "the value does not fit the schema", flaws)
        if self.failures:
            first = self.failures[0]
            return NotFound(first.reason, f"the JSON {first.says}", flaws)
        if self.thinking_open:
            return NotFound("nothing", "the text ends while the model is still thinking")
        return NotFound("nothing", "there is no JSON in the text")


def _place_in(value: Json, held: Json) -> tuple[str | int]:
    """Where it stands in an envelope."""
    return next((name,) for name, each in value.items() if each is held) if is_object(value) else (0,)


def _most_telling(candidates: list[Candidate]) -> list[Candidate]:
    """Without a schema: what is fenced is meant, and `[1]` in prose is a footnote beside an object."""
    fenced = [each for each in candidates if each.fenced]
    left = fenced or candidates
    objects = [each for each in left if is_object(each.value) or _holds_containers(each.value)]
    return objects or left


def _holds_containers(value: Json) -> bool:
    return is_array(value) and any(is_object(each) or is_array(each) for each in value)
