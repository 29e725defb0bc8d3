"""Whether a bracket too few, or too many, leaves open into which of two containers a member belongs.

`{"customer": {"name": "Ada", "paid": false}` lacks one: `paid` may be said of the customer, or of the order. Not here:
what is closed, and where (`json_reading`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penstock.policy.json_values import Json, is_array, is_object
from penstock.policy.schema_knowledge import schemas_at, value_at

__all__ = ["has_bracket_more", "may_begin_before", "may_stand_higher", "may_stand_lower", "paths_inside"]

_BRACKET_MORE = re.compile(r"[\s,;]*+[}\]]")
MOST_TRIED = 8
"""Other places that are tried, each with a check of the whole value; where there are more, there is doubt enough."""
DEEPEST_TRIED = 16
MOST_OBJECTS = 256


def has_bracket_more(text: str, end: int) -> bool:
    """True where another bracket is closed right behind the value: there is one too many, here or before."""
    return _BRACKET_MORE.match(text, end) is not None


def may_stand_higher(
    value: Json, path: tuple[str | int, ...], schema: Json, fits: Callable[[Json], bool] | None
) -> bool:
    """True where members at the end of a container could as well stand in one around it, and the value would fit.

    `path`: of a container that nobody closed. Without a schema, they always could.
    """
    chain = list(_chain(value, path))
    if len(chain) > DEEPEST_TRIED:
        return True
    tried = 0
    for inner in range(1, len(chain)):
        for outer in range(inner):
            for moved in _moved(chain, outer, inner, schema):
                tried += 1
                if fits is None or tried > MOST_TRIED or _with(moved, fits, value):
                    return True
    return False


def may_stand_lower(value: Json, schema: Json, fits: Callable[[Json], bool] | None) -> bool:
    """True where members behind an object could as well stand in it, and the value would fit: there is a brace too
    many somewhere, and it may be the one that closes that object.

    Nothing stands in a scalar: what `{"answer": 42}]` holds.
    """
    if not (is_object(value) or is_array(value)):
        return False
    tried = 0
    left: list[tuple[tuple[str | int, ...], Json]] = [((), value)]
    for path, at in left:
        if len(left) > MOST_OBJECTS:
            return True
        members: list[tuple[Any, Json]] = [*at.items()] if is_object(at) else [*enumerate(at)]
        containers = [name for name, held in members if is_object(held) or is_array(held)]
        if len(containers) > MOST_OBJECTS:
            return True
        left.extend(((*path, name), at[name]) for name in containers)
        if not is_object(at):
            continue
        for place, (name, inner) in enumerate(members[:-1]):
            following = members[place + 1][0]
            if not is_object(inner) or following in inner or not _knows(schemas_at(schema, (*path, name)), following):
                continue
            tried += 1
            if fits is None or tried > MOST_TRIED:
                return True
            inner[following] = at.pop(following)
            found = fits(value)
            at[following] = inner.pop(following)
            if found:
                return True
    return False


def may_begin_before(value: Json, fits: Callable[[Json], bool] | None) -> bool:
    """True for a list that would fit as the only item of one, or with an empty list behind its last: of a bracket too
    many, the other may be lost.
    """
    return is_array(value) and (fits is None or fits([value]) or fits([*value, []]))


def paths_inside(
    paths: Iterable[tuple[str | int, ...]], place: tuple[str | int, ...]
) -> tuple[tuple[str | int, ...], ...]:
    """The same containers as seen from what an envelope holds at `place`, each once.

    Of those around it and beside it there is but its own end: what a bracket may close there.
    """
    depth = len(place)
    return tuple(dict.fromkeys(path[depth:] if path[:depth] == place else () for path in paths))


_Chain = list[tuple[tuple[str | int, ...], Json]]
_Move = tuple[Json, Json, int]


def _chain(value: Json, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """The container and what stands last in it, as far as that is a container."""
    at = value_at(value, path)
    while (is_object(at) or is_array(at)) and at:
        yield path, at
        last: Json = next(reversed(at)) if is_object(at) else len(at) - 1
        path, at = (*path, last), at[last]


def _moved(chain: _Chain, outer: int, inner: int, schema: Json) -> Iterator[_Move]:
    """From which container to which, how many of the last members; at least one stays."""
    (path, above), (_, below) = chain[outer], chain[inner]
    if is_array(above) and is_array(below):
        for count in range(1, len(below)):
            yield below, above, count
            if count > MOST_TRIED:
                return
    if is_object(above) and is_object(below):
        shapes = schemas_at(schema, path)
        for count, name in enumerate(reversed(below), 1):
            if count == len(below) or name in above or not _knows(shapes, name):
                return
            yield below, above, count


def _knows(shapes: list[Mapping[str, Json]], name: str) -> bool:
    """True where one of them speaks of the name, or all speak of none."""
    spoken = [shape["properties"] for shape in shapes if shape.get("properties")]
    return any(name in names for names in spoken) or not spoken


def _with(moved: _Move, fits: Callable[[Json], bool], value: Json) -> bool:
    """Whether the value fits with the members moved; it is as before then."""
    below, above, count = moved
    if is_object(below):
        names = list(below)[-count:]
        for name in names:
            above[name] = below.pop(name)
        found = fits(value)
        for name in names:
            below[name] = above.pop(name)
        return found
    items = below[-count:]
    del below[-count:]
    above.extend(items)
    found = fits(value)
    del above[-count:]
    below.extend(items)
    return found
