"""The table of dialects as the README shows it.

Not here: what it says (the rows of `penstock_providers.openai_chat.dialects`).
"""

from __future__ import annotations

from collections.abc import Iterable

from dialect_exchanges import exchanges_of

from penstock_providers.openai_chat import DIALECTS, Dialect, ThinkingForm

__all__ = ["BEGINS", "ENDS", "table"]

BEGINS, ENDS = "<!-- dialects -->\n", "<!-- end of dialects -->"
HEAD = (
    "kind",
    "provider",
    "key",
    "address",
    "output limit",
    "asks to think with",
    "shows thinking in",
    "usage in streams",
    "read on",
)


def table() -> str:
    """One line for each row, in the order of their names."""
    lines = [_line(HEAD), _line("---" for _ in HEAD)]
    lines += [_line(_cells(row)) for _, row in sorted(DIALECTS.items())]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Dialect) -> tuple[str, ...]:
    count = len(exchanges_of(row))
    return (
        _code(row.name),
        row.title,
        _code(row.key_variable or "") + ("" if row.needs_key else ", if any"),
        "yours: `base_url`" if row.base_url is None else row.base_url.partition("://")[2],
        _code(row.limit) if row.limit else "by the model",
        _thinking(row.thinking),
        ", ".join(map(_code, row.seen.reasoning)) or "-",
        ", ".join(row.seen.usage) or "-",
        f"{count} {'recording' if count == 1 else 'recordings'}" if count else "documentation alone",
    )


def _thinking(form: ThinkingForm) -> str:
    fields = [*form.on, *(".".join(path) for path in (form.level, form.budget) if path)]
    return ", ".join(map(_code, dict.fromkeys(fields)))


def _code(word: str) -> str:
    return f"`{word}`"
