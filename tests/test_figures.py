"""The figures that the README shows: drawn from the JSON that lies beside them, and from no run that does not count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "benchmarks" / "figures"
SVG = "{http://www.w3.org/2000/svg}"

pytestmark = pytest.mark.slow
needs_figures = pytest.mark.skipif(
    not FIGURES.exists(), reason="no run has been published yet: python -m benchmarks.report.publish"
)


def run_python(*arguments: str, asked: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, input=asked, capture_output=True, text=True, timeout=60, check=False
    )


def said_by(program: str, given: object) -> Any:
    """What an expression in the benchmarks' own surroundings makes of `given`, which it is told as JSON."""
    whole = f"import json, sys\ngiven = json.load(sys.stdin)\n{program}"
    done = run_python("-c", whole, asked=json.dumps(given))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def figures(**changes: Any) -> dict[str, Any]:
    """Of a run of a few rows."""
    costs = {"floor": (140, 130), "penstock_guards": (230, 200), "sdk_spans": (70, 60), "aiohttp_client": (190, 100)}
    columns = {
        name: {"1": {"cpu_us": one}, "32": {"cpu_us": many}, "256": {"cpu_us": many}}
        for name, (one, many) in costs.items()
    }
    upstream = {"saturated_us": 8.0, "times_faster": 7.0, "fastest_client": "floor", "fastest_us": 130.0}
    calls = {"unit": "us of CPU per call", "rows": columns, "upstream": upstream}
    statuses = dict.fromkeys(costs, "measured") | {"openai_sdk": "not installed: no matching distribution"}
    return {
        "when": "2026-02-03T04:05:06+00:00",
        "commit": "0a1b2c3",
        "took_s": {"calls": 120},
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux 6", "python": "3.11.7", "pinned": True, "load": 0.1},
        "rounds": 7,
        "calls": 300,
        "reduced": False,
        "excluded": ["the upstream's CPU", "TLS"],
        "void": [],
        "unchecked": [],
        "rows": {name: {"title": name, "status": status} for name, status in statuses.items()},
        "sections": {"calls": calls},
        "goals": [],
        "unjudged": [],
    } | changes


def picture(folder: Path, **changes: Any) -> str:
    """The text of an SVG that is drawn of them."""
    (folder / "figures.json").write_text(json.dumps(figures(**changes)))
    done = run_python("-m", "benchmarks.report.picture", str(folder / "figures.json"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_of(drawn: str) -> str:
    """Everything that is written in a picture."""
    return " ".join(each.text or "" for each in ET.fromstring(drawn).iter(f"{SVG}text"))


@needs_figures
def test_the_picture_is_the_one_that_its_figures_give() -> None:
    done = run_python("-m", "benchmarks.report.picture", str(FIGURES / "figures.json"))
    assert done.stdout == (FIGURES / "calls.svg").read_text(), "python -m benchmarks.report.publish --draw"


@needs_figures
@pytest.mark.parametrize("make", ["lines", "shown_in_readme"], ids=["the table", "the README"])
def test_what_is_written_of_the_figures_is_what_they_say(make: str) -> None:
    program = (
        "from benchmarks.report.table import lines\nfrom benchmarks.report.publish import shown_in_readme\n"
        f"made = {make}(given)\nprint(json.dumps(made if isinstance(made, str) else '\\n'.join(made)))"
    )
    made = said_by(program, json.loads((FIGURES / "figures.json").read_text()))
    place = FIGURES / "figures.txt" if make == "lines" else ROOT / "README.md"
    assert made in place.read_text(), "python -m benchmarks.report.publish --draw"


@needs_figures
def test_the_figures_that_are_shown_are_those_of_a_run_that_counts() -> None:
    program = "from benchmarks.report.publish import why_not\nprint(json.dumps(why_not(given)))"
    assert said_by(program, json.loads((FIGURES / "figures.json").read_text())) == []


def test_a_picture_tells_when_and_where_it_was_measured_and_what_is_excluded(tmp_path: Path) -> None:
    said = words_of(picture(tmp_path))
    for word in ("2026-02-03", "A CPU", "Python 3.11.7", "7 rounds of 300 calls", "the upstream's CPU; TLS"):
        assert word in said
    assert "VOID" not in said


def test_a_picture_of_a_void_run_says_so(tmp_path: Path) -> None:
    assert "VOID: floor / raw is 9" in words_of(picture(tmp_path, void=["floor / raw is 9"]))


def test_a_row_that_could_not_be_measured_is_named_in_the_picture(tmp_path: Path) -> None:
    said = words_of(picture(tmp_path))
    assert "openai SDK" in said
    assert "not installed: no matching distribution" in said


def test_what_makes_no_call_has_no_bar_among_those_that_do(tmp_path: Path) -> None:
    drawn = picture(tmp_path)
    assert "OTel" not in words_of(drawn)
    background, legend, bars = 1, 2, 2 * 3
    assert len(list(ET.fromstring(drawn).iter(f"{SVG}rect"))) == background + legend + bars


def test_bars_are_as_long_as_their_figures_say_and_the_cheapest_comes_first(tmp_path: Path) -> None:
    bars = list(ET.fromstring(picture(tmp_path)).iter(f"{SVG}rect"))[3:]
    widths = [float(bar.attrib["width"]) for bar in bars]
    costs = [190, 100, 140, 130, 230, 200]
    assert widths == pytest.approx([cost / 230 * 456 for cost in costs], abs=0.1)


def test_everything_in_a_picture_stays_within_it(tmp_path: Path) -> None:
    """Words are as wide as half their size for a letter, and more: what is long is broken into lines."""
    reason = "not installed: " + "a very long story about a resolver " * 5
    rows = figures()["rows"] | {"openai_sdk": {"title": "openai", "status": reason}}
    root = ET.fromstring(picture(tmp_path, rows=rows))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for each in root.iter(f"{SVG}text"):
        long = len(each.text or "") * float(each.attrib["font-size"]) * 0.55
        begins = float(each.attrib["x"]) - (long if each.attrib["text-anchor"] == "end" else 0)
        assert 0 <= begins <= begins + long <= width, each.text
        assert float(each.attrib["y"]) <= height


def test_a_picture_has_colours_for_the_dark_too(tmp_path: Path) -> None:
    drawn = picture(tmp_path)
    light, dark = drawn.split("@media (prefers-color-scheme:dark)")
    for kind in (".back", ".dim", ".one", ".many", ".ours.one", ".ours.many", "text"):
        assert f"{kind}{{" in light
        assert f"{kind}{{" in dark


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"void": ["floor / raw is 9"]}, "floor / raw is 9"),
        ({"unchecked": ["raw was not measured"]}, "raw was not measured"),
        ({"reduced": True}, "its sizes are reduced"),
        ({}, "the section streams is not in it"),
        ({}, "the row litellm_router is not in it"),
    ],
)
def test_a_run_that_does_not_count_is_not_published(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    before = (ROOT / "README.md").read_text()
    (tmp_path / "figures.json").write_text(json.dumps(figures(**changes)))
    done = run_python("-m", "benchmarks.report.publish", "--from", str(tmp_path))
    assert done.returncode == 1
    assert reason in done.stderr
    assert (ROOT / "README.md").read_text() == before


def test_a_row_that_is_missing_leaves_its_goals_unjudged_and_says_so() -> None:
    program = (
        "from benchmarks.report.goals import goals, unjudged\n"
        "print(json.dumps([[goal.name for goal in goals(given)], unjudged(given, {'openai_sdk': 'not installed: x'})]))"
    )
    judged, unjudged = said_by(program, figures()["sections"])
    assert not any("openai SDK" in name for name in judged)
    assert "goals of openai_sdk at 1, 32, 256: not installed: x" in unjudged
    assert "goals of streams: not in this run" in unjudged


def test_the_fastest_client_is_one_that_makes_calls() -> None:
    program = (
        "from benchmarks.sections.calls import against_the_upstream as against\nprint(json.dumps(against(given, 8.0)))"
    )
    upstream = said_by(program, figures()["sections"]["calls"]["rows"])
    assert (upstream["fastest_client"], upstream["fastest_at"], upstream["times_faster"]) == (
        "aiohttp_client",
        32,
        12.5,
    )


def test_a_run_without_floor_or_raw_says_that_nobody_knows_whether_it_counts() -> None:
    program = "from benchmarks.sections.calls import unchecked\nprint(json.dumps(unchecked(given)))"
    rows = figures()["sections"]["calls"]["rows"]
    assert [reason.partition(" was")[0] for reason in said_by(program, rows)] == ["raw"] * 3
    assert said_by(program, rows | {"raw": rows["floor"]}) == []
