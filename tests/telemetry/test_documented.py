"""What the README says of telemetry, held against the names in the code and the traces that are shipped."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from penstock import Config
from penstock.telemetry import _names as n

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README[README.index("## Traces, metrics and logs") : README.index("## Errors")]
NAMES = {name: value for name, value in vars(n).items() if name.isupper() and isinstance(value, str)}
EVENTS = {
    value
    for name, value in NAMES.items()
    if re.fullmatch(r"[a-z_]+", value) and name not in {"CHAT", "SCOPE", "LATEST_OPT_IN"}
}


def told_in_the_kernel() -> Iterator[str]:
    """The names of events that the kernel tells spans of."""
    for path in (ROOT / "kernel" / "penstock").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="event", value=ast.Attribute(attr="span")),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield name
                case _:
                    pass


def test_every_event_that_the_kernel_tells_has_a_name_that_is_documented() -> None:
    told = set(told_in_the_kernel())
    assert {"wait", "hold", "commit"} <= told
    assert told - {"attempt_failed"} <= EVENTS
    for name in EVENTS:
        assert f"`.{name}`" in SECTION or f"`penstock.{name}`" in SECTION, name


def test_every_attribute_and_metric_of_our_own_is_documented() -> None:
    for name, value in NAMES.items():
        if value.startswith("penstock.") and "{" not in value and not value.endswith("."):
            short = value.removeprefix("penstock")
            assert f"`{short}`" in SECTION or f"`{value}`" in SECTION, f"{name} = {value}"


def test_the_configuration_of_the_readme_is_one() -> None:
    (snippet,) = re.findall(r"<!-- snippet: telemetry -->\n```toml\n(.*?)```", README, re.DOTALL)
    config = Config.from_dict(tomllib.loads(snippet), environ={"OPENAI_API_KEY": "any"})
    assert config.telemetry is not None
    assert config.telemetry.sample == 0.1
    assert config.providers["openai"].propagate_trace


def test_the_traces_that_are_shipped_are_whole_and_have_the_names_of_today() -> None:
    told = json.loads((ROOT / "tests" / "telemetry" / "demo" / "traces.json").read_text())
    spans = told["resourceSpans"][0]["scopeSpans"][0]["spans"]
    by_id = {(span["traceId"], span["spanId"]): span for span in spans}
    assert len(by_id) == len(spans)
    calls = [span for span in spans if "parentSpanId" not in span]
    assert len(calls) == len({span["traceId"] for span in spans}) == 10
    for span in spans:
        parent = span.get("parentSpanId")
        assert parent is None or by_id[span["traceId"], parent]["name"] == "call default"
        known = {attribute["key"] for attribute in span["attributes"]}
        assert {key for key in known if key.startswith("penstock.")} <= set(NAMES.values())
        assert {event["name"].removeprefix("penstock.") for event in span.get("events", [])} <= EVENTS
