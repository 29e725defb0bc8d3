"""Whole traces in a form that can be compared and read: what differs from run to run is left out of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any

from collector import GotSpan

__all__ = ["check_golden", "tree_of"]

FOLDER = Path(__file__).parent / "telemetry" / "golden"
WRITES = os.environ.get("PENSTOCK_GOLDEN") == "write"
VARIES = {"penstock.call.id", "seconds", "gen_ai.response.time_to_first_chunk", "penstock.phase.waited_s"}


def tree_of(spans: Sequence[GotSpan]) -> list[dict[str, Any]]:
    """One trace, the parent first, then its attempts in their order. Raises where it is no whole tree."""
    assert len({each.span.trace_id for each in spans}) == 1, "more than one trace"
    by_id = {each.span.span_id: each for each in spans}
    assert len(by_id) == len(spans), "a span came twice"
    roots = [each for each in spans if each.span.parent_span_id not in by_id]
    assert len(roots) == 1, "not one root"
    ordered = sorted(spans, key=lambda each: each.attributes.get("penstock.attempt.number", 0))
    return [
        {
            "name": each.name,
            "scope": each.scope,
            "schema_url": each.schema_url,
            "kind": each.kind,
            "parent": by_id[each.span.parent_span_id].name if each.span.parent_span_id in by_id else None,
            "status": each.status,
            "attributes": _steady(each.attributes),
            "events": [{"name": name, **_steady(attributes)} for name, attributes in each.events],
        }
        for each in ordered
    ]


def _steady(attributes: dict[str, Any]) -> dict[str, Any]:
    for key, value in attributes.items():
        if key == "seconds" or key.endswith(("_s", "time_to_first_chunk")):
            assert isinstance(value, float), f"{key} is {value!r}"
            assert value >= 0, f"{key} is {value!r}"
    return {key: "*" if key in VARIES or key.endswith("_s") else value for key, value in sorted(attributes.items())}


def check_golden(name: str, spans: Sequence[GotSpan]) -> None:
    """The trace is the golden one. PENSTOCK_GOLDEN=write makes it so: look at what changed."""
    found = tree_of(spans)
    file = FOLDER / f"{name}.json"
    if WRITES:
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=2) + "\n")
    # As texts: to Python 1 and 1.0 are the same, and to a backend they are not.
    old, new = file.read_text().splitlines(), json.dumps(found, indent=2).splitlines()
    if old != new:
        raise AssertionError("\n".join(unified_diff(old, new, "golden", "found", lineterm="")))
