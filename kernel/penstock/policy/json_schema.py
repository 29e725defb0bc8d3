"""JSON Schema, compiled once and asked often: does a value fit, and where does it not.

Draft 2020-12 without what needs annotations (`unevaluated*`, `$dynamicRef`) or the network; `items` as a list,
`definitions`, `dependencies` and OpenAPI's `nullable` are read as well, for schemas out there have them. `format` is an
annotation, as the standard says. Not here: how a schema is shaped for a provider (`schema_shaping`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.policy.json_envelopes import ARGUMENTS, NAMES_OF_TOOLS
from penstock.policy.json_values import Flaw, Json, is_array, is_object
from penstock.policy.schema_compounds import COMPOUND
from penstock.policy.schema_knowledge import property_names, root_shapes
from penstock.policy.schema_plain import Surely, only_kinds, surely_fits
from penstock.policy.schema_references import SchemaError as SchemaError
from penstock.policy.schema_references import is_deeper
from penstock.policy.schema_references import pointed as pointed
from penstock.policy.schema_rules import (
    MOST_FLAWS,
    SIMPLE,
    Findings,
    Path,
    Rule,
    all_rules,
    fits_by,
    kind_of,
    nothing_fits,
)
from penstock.policy.schema_tags import Tags, tags_of

__all__ = ["SchemaCheck", "SchemaError", "pointed"]

DEEPEST = 100
"""Objects and lists within one another in a schema: whoever walks through it may do so by recursion."""
NOT_HERE = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")
WITH_RULES = frozenset({"$ref", *SIMPLE, *COMPOUND})
"""All other keywords ask nothing."""


class SchemaCheck:
    """A schema, compiled. Raises SchemaError where it is wrong.

    Laws: it never changes the value or the schema; the same value has the same flaws; a value has none exactly where
    it fits. The work is bounded by the size of the value times that of the schema, however choices are nested.
    """

    def __init__(self, schema: Mapping[str, Json] | bool) -> None:  # noqa: FBT001 - a schema may be a boolean
        self.schema = schema
        self._root: Mapping[str, Json] = schema if is_object(schema) else {}
        self._references: dict[str, list[Rule]] = {}
        self._parts: dict[int, Rule] = {}
        self._tags: dict[int, Tags] = {}
        if is_deeper(schema, DEEPEST):
            raise SchemaError(f"it is nested deeper than {DEEPEST} levels")
        try:
            self._rule = self.compile_at(schema, "#")
            self._surely = surely_fits(schema, self._root, WITH_RULES)
        except RecursionError:  # along references, which may be long
            raise SchemaError("its references lead too deep") from None
        shapes = root_shapes(schema)
        self.names = property_names(shapes)
        """Of the properties of the value."""
        self.item_names = property_names(root_shapes(schema, *(shape.get("items") for shape in shapes)))
        """Of those of its items, where it is a list."""
        self.like_a_call = not (self.names.isdisjoint(NAMES_OF_TOOLS) or self.names.isdisjoint(ARGUMENTS))
        """It is itself like the call of a tool: a name, and arguments."""
        self.takes_other_names = any(map(_takes_other_names, shapes))
        """It says that there may be others."""

    def fits(self, value: Json) -> bool:
        """True where the value has no flaw."""
        return self._fits_surely(value) or not self._flaws(value, 1)

    def flaws(self, value: Json) -> tuple[Flaw, ...]:
        """The first flaws of the value, at most 20. Nothing is looked at behind them."""
        return () if self._fits_surely(value) else self._flaws(value, MOST_FLAWS)

    def _fits_surely(self, value: Json) -> bool:
        try:
            return self._surely is not None and self._surely(value)
        except RecursionError:  # the rules say so
            return False

    def _flaws(self, value: Json, most: int) -> tuple[Flaw, ...]:
        found = Findings(most)
        try:
            self._rule(value, None, found)
        except RecursionError:
            return (Flaw("$", "is nested too deep to be checked"),)
        return tuple(found[:most])

    def _compile(self, schema: Json, where: str) -> list[Rule]:  # noqa: C901 - keyword by keyword
        if schema is True:
            return []
        if schema is False:
            return [nothing_fits]
        if not is_object(schema):
            raise SchemaError(f"{where}: a schema is an object or a boolean, and this is {kind_of(schema)}")
        stated = schema
        for keyword in NOT_HERE:
            if keyword in stated:
                raise SchemaError(f"{where}: {keyword} is not supported")
        rules: list[Rule] = []
        if "$ref" in stated:
            rules.append(self._reference(stated["$ref"], where))
        for keyword, make in SIMPLE.items():
            if keyword in stated:
                try:
                    rules.append(make(stated[keyword], stated))
                except (TypeError, ValueError, OverflowError, re.error) as wrong:
                    raise SchemaError(f"{where}/{keyword}: {wrong}") from None
        for keyword, compound in COMPOUND.items():
            if keyword in stated:
                rules.extend(compound(self, stated[keyword], stated, f"{where}/{keyword}"))
        return rules

    def compile_at(self, schema: Json, where: str) -> Rule:
        """One rule out of a schema within this one."""
        return all_rules(self._compile(schema, where))

    def _reference(self, reference: Json, where: str) -> Rule:
        if not isinstance(reference, str):
            raise SchemaError(f"{where}/$ref: must be a string")
        if reference not in self._references:
            # Put there before it is compiled: it may refer to itself.
            held: list[Rule] = []
            self._references[reference] = held
            held.extend(self._compile(pointed(self._root, reference), reference))
        rules = self._references[reference]

        def follow(value: Json, path: Path, found: Findings) -> None:
            key = (id(rules), id(value))
            if key not in found.known:
                found.known[key] = None
                apart = found.apart()
                for rule in rules:
                    if not apart.full:
                        rule(value, path, apart)
                found.known[key] = apart
            # One that leads back to itself without going into the value asks nothing of it.
            known = found.known[key]
            if not found.full:
                found.extend(known or ())
            if not (is_object(value) or is_array(value)):
                found.known.pop(key, None)  # the same word may stand in many places

        return follow

    def part_fits(self, schema: Json, value: Json) -> bool:
        """Whether a value fits a schema that stands within this one. That is made ready when it is first asked for."""
        rule = self._parts.get(id(schema))
        if rule is None:
            rule = self._parts[id(schema)] = self.compile_at(schema, "#")
        try:
            return fits_by(rule, value, Findings(1))
        except RecursionError:
            return False

    def decides(self, schema: Json) -> Surely | None:
        """A function that tells what fits a schema within this one, and what does not; None where that takes rules."""
        return surely_fits(schema, self._root, WITH_RULES, exactly=True)

    def kinds_of(self, schema: Json) -> frozenset[type]:
        """The kinds of which every value fits a schema within this one, where it asks for nothing but a kind."""
        return only_kinds(schema, WITH_RULES)

    def tags_at(self, schema: Json) -> Tags:
        """The properties by which a schema within this one can be told from others."""
        tags = self._tags.get(id(schema))
        if tags is None:
            tags = self._tags[id(schema)] = tags_of(self.behind(schema), self.behind)
        return tags

    def behind(self, schema: Json) -> Json:
        """The schema that a reference stands for."""
        for _ in range(16):
            if is_object(schema) and "$ref" in schema:
                schema = pointed(self._root, schema["$ref"])
        return schema


def _takes_other_names(shape: Mapping[str, Json]) -> bool:
    more = shape.get("additionalProperties") or "patternProperties" in shape
    return bool(more) or (shape.get("type") == "object" and not shape.get("properties"))
