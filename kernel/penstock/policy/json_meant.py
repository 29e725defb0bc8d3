"""Which part of an object that still grows is the value: all of it, what an envelope holds, or a line of a list.

Not here: the object itself (`json_partial`), and what a whole answer is an envelope of (`schema_knowledge`).
"""

from __future__ import annotations

from itertools import islice

from penstock.policy.json_envelopes import only_content
from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import NONE, root_shapes
from penstock.policy.schema_rules import kind_of

__all__ = ["Meant"]

MOST_LOOKED_THROUGH = 16
"""Members of what may be an envelope's content: it says with its first ones what it is, or is not asked again."""


class Meant:
    """Of the objects of one answer, one after the other, by the schema of the value. Each question costs the same."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        shapes = root_shapes(schema)
        self.kinds = _kinds(schema)
        """The types of JSON that the value may be of; none where the schema does not say."""
        self.objects = not self.kinds or "object" in self.kinds
        self._names = {name for shape in shapes for name in shape.get("properties", ())}
        self._of_items: set[str] = set()
        if self.kinds == frozenset({"array"}):
            items = [item for shape in shapes for item in root_shapes(schema, shape.get("items"))]
            self._of_items = {name for item in items for name in item.get("properties", ())}
        self._root: Json = None
        self._seen: tuple[int, int] = (0, 0)
        self._key: str | None = None
        self._is_root = self._ended = False

    def is_line(self, root: dict[str, Json]) -> bool:
        """True for an object that is one of a list, and stands there without its brackets."""
        return bool(self._of_items) and next(iter(root), None) in self._of_items

    def of(self, root: dict[str, Json], *, whole: bool) -> Json:
        """The value as far as it has come; NONE where nobody knows yet what the object is."""
        if not self._names and self.objects:
            return root
        if self._root is not root:
            self._root, self._seen, self._key, self._is_root, self._ended = root, (0, 0), None, False, False
        if not (self._is_root or self._ended):
            self._look(root, whole=whole)
        if self._key is not None and not self._is_root:
            return root[self._key]
        return root if self.objects and (whole or self._is_root) else NONE

    def _look(self, root: dict[str, Json], *, whole: bool) -> None:
        """Decides anew where there is more to go by: another member, or more of the first ones of the last."""
        members, inside = self._seen
        last = next(reversed(root.values()), None)
        seen = (len(root), len(last) if is_array(last) or is_object(last) else 0)
        if seen == self._seen and not whole:
            return
        if len(root) != members:
            self._key = None
            self._is_root = any(name in self._names for name in islice(reversed(root), len(root) - members))
        self._seen = seen
        many = len(root) > MOST_LOOKED_THROUGH or inside > MOST_LOOKED_THROUGH
        if not self._is_root and self._key is None and (whole or not many):
            content = only_content(root, self._schema)
            if self._suits(content):
                self._key = next((name for name, held in root.items() if held is content), None)
        self._ended = whole

    def _suits(self, content: Json) -> bool:
        """False for JSON in a string, say: a value is not shown as what it cannot be."""
        kinds = self.kinds
        if not kinds or is_object(content) or is_array(content):
            return not kinds or ("object" if is_object(content) else "array") in kinds
        return "string" in kinds if isinstance(content, str) else not kinds <= {"object", "array", "string"}


def _kinds(schema: Json) -> frozenset[str]:
    kinds: set[str] = set()
    for shape in root_shapes(schema):
        stated, listed = shape.get("type"), [shape["const"]] if "const" in shape else shape.get("enum")
        if stated is not None:
            kinds.update(stated if is_array(stated) else (stated,))
        elif is_array(listed):
            kinds.update(map(kind_of, listed))
        elif not any(name in shape for name in ("$ref", "anyOf", "oneOf", "allOf")):
            return frozenset()
    return frozenset(kinds)
