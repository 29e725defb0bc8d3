"""The figures of a run as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.roster import ROSTER

__all__ = ["lines"]

Figures = dict[str, Any]
NAME = 34
CELL = 11


def lines(figures: Figures) -> Iterator[str]:
    """The whole of it, for a terminal of a hundred columns."""
    machine = figures["machine"]
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}"
    minutes, pinned = sum(figures["took_s"].values()) / 60, "" if machine["pinned"] else "not "
    yield (
        f"{figures['when']}, commit {figures['commit'] or 'unknown'}; it took {minutes:.1f} min, the load before was "
        f"{machine['load']}; clients and upstream are {pinned}pinned to a core each"
    )
    yield (
        f"medians of {figures['rounds']} interleaved rounds of {figures['calls']} calls; "
        f"excluded: {'; '.join(figures['excluded'])}"
    )
    doubts = [f"VOID: {reason}" for reason in figures["void"]]
    doubts += [f"NOT CHECKED: {reason}" for reason in figures["unchecked"]]
    if figures["reduced"]:
        doubts.append("REDUCED: all is so small that no figure means anything")
    if doubts:
        yield ""
        yield from doubts
    for name, of in SECTIONS.items():
        section = figures["sections"].get(name)
        if section is None:
            continue
        yield ""
        if "missing" in section:
            yield f"{name}: {section['missing']}"
        else:
            yield from of(section)
    yield ""
    yield from rows_of(figures["rows"])
    yield ""
    yield from goals_of(figures["goals"], figures["unjudged"])


def table(unit: str, rows: dict[str, dict[str, float]], marks: dict[str, str] | None = None) -> Iterator[str]:
    """A line for each row; marks stand behind it. Columns are those of any row."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    yield f"{unit:{NAME}}" + "".join(f"{column:>{max(CELL, len(column) + 2)}}" for column in columns)
    for name, row in rows.items():
        title = ROSTER[name].title if name in ROSTER else name
        cells = (f"{number(row.get(column)):>{max(CELL, len(column) + 2)}}" for column in columns)
        yield f"{title:{NAME}}" + "".join(cells) + (marks or {}).get(name, "")


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def cpu(rows: Figures) -> dict[str, dict[str, float]]:
    """The CPU of every cell, in the order of the roster."""
    return {name: {column: seen["cpu_us"] for column, seen in rows[name].items()} for name in ROSTER if name in rows}


def calls(section: Figures) -> Iterator[str]:
    rows = cpu(section["rows"])
    floor = rows.get("floor", {})
    ratios = {
        name: "   x floor: " + "  ".join(f"{cost / floor[at]:6.2f}" for at, cost in row.items())
        for name, row in rows.items()
        if floor
    }
    yield from table(f"{section['unit']}, at once:", rows, ratios)
    upstream = section["upstream"]
    yield (
        f"the upstream takes {upstream['saturated_us']} us for a call where it has always more to do: it is "
        f"{upstream['times_faster']} times as fast as the fastest client ({upstream['fastest_client']}, "
        f"{upstream['fastest_us']:.0f} us)"
    )
    for reasons in section.get("void_before", ()):
        yield f"measured once more, for these did not count: {'; '.join(reasons)}"


def waiting(section: Figures) -> Iterator[str]:
    yield f"{section['in_flight']} in flight on 500 ms, ideal {section['ideal']}"
    rows = {name: row for name in ROSTER if (row := section["rows"].get(name)) is not None}
    yield from table(section["unit"], rows)


def streams(section: Figures) -> Iterator[str]:
    rows = cpu(section["rows"])
    groups = list(dict.fromkeys(group_of(column) for row in rows.values() for column in row))
    for group in groups:
        of_group = {name: {at: us for at, us in row.items() if group_of(at) == group} for name, row in rows.items()}
        yield from table(section["unit"], {name: row for name, row in of_group.items() if row})
    yield "burst: many in a read, an HTTP chunk for all of them; framed: an HTTP chunk for each; paced: one every 2 ms"


def group_of(column: str) -> tuple[str, bool]:
    """The kind of stream; the commit policies are a table of their own."""
    return column.partition(" ")[0], "," in column


def hits(section: Figures) -> Iterator[str]:
    yield from table(f"{section['unit']}, from memory", cpu(section["rows"]))


def budgets(section: Figures) -> Iterator[str]:
    adds = "   ".join(f"{us:.1f} at {level} at once" for level, us in section["adds_us"].items())
    yield f"the ledger in memory adds {adds} ({section['unit']})"


def imports(section: Figures) -> Iterator[str]:
    yield (
        f"import penstock {section['penstock_ms']} ms, import trio, httpx {section['trio_httpx_ms']} ms: ratio "
        f"{section['ratio']}; threads {section['threads']}, network {', '.join(section['network']) or 'none'}; "
        f"with all that opening a kernel needs {section['first_use_ms']} ms"
    )


def slow_consumers(section: Figures) -> Iterator[str]:
    tls = f"{section['tls_kib_each']} KiB" if "tls_kib_each" in section else section["tls"]
    yield f"{section['streams']} open streams, each of a consumer that stopped: {section['kib_each']} KiB; TLS: {tls}"


def scale(section: Figures) -> Iterator[str]:
    yield section["unit"]
    for what, seen in section["sizes"].items():
        (small, large), (less, more) = seen["sizes"], seen["cpu_us"]
        yield f"{what:12} {small:>6,}: {less:8.1f}   {large:>6,}: {more:10.1f}   ratio {seen['ratio']:.2f}"


def values(section: Figures) -> Iterator[str]:
    adds, text = section["adds_us"], section["text_us"]
    yield f"a value of six fields adds {adds} us to a call that sends its schema ({text} us)"
    worst, ms = max(section["hostile_ms"].items(), key=lambda each: each[1])
    yield f"{section['hostile_bytes']:,} bytes of hostile text: at most {ms} ms ({worst})"
    less, more = section["partial_us"]["for_a_kilobyte"]
    small, large = section["partial_us"]["sizes"]
    ratio = section["partial_ratio"]
    yield f"partial values: {less} us for a kilobyte of {small:,} bytes, {more} of {large:,}: ratio {ratio}"


SECTIONS = {of.__name__: of for of in (calls, waiting, streams, hits, budgets, imports, slow_consumers, scale, values)}


def rows_of(rows: Figures) -> Iterator[str]:
    """What each does, with versions, or why it was not measured."""
    for row in rows.values():
        versions = ", ".join(f"{package} {version}" for package, version in row.get("versions", {}).items())
        yield f"{row['title']}: {row['status']}" + (f"; {row['does']} ({versions})" if versions else "")


def goals_of(goals: list[Figures], unjudged: list[str]) -> Iterator[str]:
    missed = [goal for goal in goals if not goal["met"]]
    yield f"{len(goals) - len(missed)} of {len(goals)} goals are met" + ("; missed:" if missed else "")
    for goal in missed:
        yield f"  {goal['name']}: {number(goal['seen'])}, {'at least' if goal['at_least'] else 'at most'} " + number(
            goal["bound"]
        )
    yield from (f"not judged: {reason}" for reason in unjudged)
