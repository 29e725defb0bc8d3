"""Keywords of JSON Schema that no vendor's documentation has among those that its native mode takes.

Not here: what one vendor takes (`_models` of each wire).
"""

from __future__ import annotations

__all__ = ["ANNOTATIONS", "COMPOSED", "UNCOUNTED"]

ANNOTATIONS = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "deprecated",
        "discriminator",
        "examples",
        "nullable",
        "readOnly",
        "writeOnly",
    }
)
"""They say nothing of what fits, or (`nullable`) it can be said otherwise."""
UNCOUNTED = frozenset(
    {"contains", "maxContains", "maxProperties", "minContains", "minProperties", "propertyNames", "uniqueItems"}
)
"""They allow less of what can be said without them."""
COMPOSED = frozenset(
    {
        "additionalItems",
        "allOf",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "prefixItems",
        "then",
    }
)
"""They are what the schema is about: without them it would be another."""
