"""What a value out of an answer takes: beside the same call for its text, of hostile text, and while a stream grows.

In this process, with answers from a list: the wire is measured elsewhere.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec

import penstock
from benchmarks.bench import Bench, Figures
from penstock import ChatRequest
from penstock.policy.json_finding import find_json
from penstock.policy.json_partial import PartialJson
from penstock.testing import AnsweredKernel


class Visit(msgspec.Struct):
    """Six fields."""

    city: str
    days: int
    price: float
    booked: bool
    guests: list[str]
    note: str


ANSWER = '{"city":"Rome","days":3,"price":1.5,"booked":true,"guests":["Ada","Bob"],"note":"by train"}'
CONFIG: dict[str, Any] = {"providers": {"openai": {}}, "routes": {"default": {"cascade": ["openai/gpt-4o"]}}}
BATCH = 50
"""Calls, of one kind and then of the other: short turns, for the machine is not as fast at all times."""
MEGABYTE = 1_000_000
HOSTILE: dict[str, Callable[[int], str]] = {
    "braces": lambda size: "{" * size,
    "nesting": lambda size: '{"a":' * (size // 5),
    "unclosed strings": lambda size: '{"a":"x" ' * (size // 9),
    "quotes": lambda size: '{"' + '"' * size,
    "backslashes": lambda size: '{"a":"' + "\\" * size,
    "fences": lambda size: '```\n{"a": "' * (size // 11),
    "comments": lambda size: "{/*" * (size // 3),
    "empty arrays": lambda size: "[]" * (size // 2),
    "escaped quotes": lambda size: '{\\"a":' * (size // 7),
}
SMALL, LARGE, PIECE = 100_000, 800_000, 16
"""Characters of a stream, and of each piece of it."""


def measured(bench: Bench) -> Figures:
    kernel = AnsweredKernel(lambda _: ANSWER, config=CONFIG)
    text_us, value_us = kernel.run(_calls, 2 if bench.reduced else 20 * bench.rounds)
    part = 10 if bench.reduced else 1
    found = {name: _least_ms(bench.rounds, make(MEGABYTE // part)) for name, make in HOSTILE.items()}
    sizes = [size // part for size in (SMALL, LARGE)]
    small, large = (_partials_us(bench.rounds, size) for size in sizes)
    return {
        "unit": "CPU, the least of the rounds",
        "text_us": round(text_us, 1),
        "value_us": round(value_us, 1),
        "adds_us": round(value_us - text_us, 1),
        "hostile_bytes": MEGABYTE // part,
        "hostile_ms": {name: round(ms, 1) for name, ms in found.items()},
        "partial_us": {"sizes": sizes, "for_a_kilobyte": [round(small, 1), round(large, 1)]},
        "partial_ratio": round(large / small, 2),
    }


async def _calls(kernel: penstock.Kernel, turns: int) -> tuple[float, float]:
    """Microseconds of a call that sends the schema and returns the text, and of one that returns the value."""
    plain = ChatRequest("Where?")
    shaped = ChatRequest("Where?", output=penstock.OutputSchema(msgspec.json.schema(Visit)))
    seen: dict[str, list[float]] = {"text": [], "value": []}
    for _ in range(turns + 1):
        for what, times in seen.items():
            gc.collect()
            began = time.process_time()
            for _ in range(BATCH):
                await (kernel.complete(shaped) if what == "text" else kernel.extract(Visit, plain))
            times.append((time.process_time() - began) / BATCH * 1e6)
    return min(seen["text"][1:]), min(seen["value"][1:])


def _least_ms(rounds: int, text: str) -> float:
    return min(_seconds(lambda: find_json(text)) for _ in range(rounds)) * 1e3


def _partials_us(rounds: int, size: int) -> float:
    """Microseconds for a kilobyte of a stream whose partial value is looked at after each piece: the worse of a long
    text and many items, each by its median.
    """

    def grow(text: str) -> None:
        growing = PartialJson()
        for at in range(0, len(text), PIECE):
            growing.feed(text[at : at + PIECE])

    texts = json.dumps({"a": "x" * size}), json.dumps({"a": [{"b": 1}] * (size // 10)})
    costs = [statistics.median(_seconds(lambda: grow(text)) for _ in range(rounds)) / len(text) for text in texts]  # noqa: B023 - called at once
    return max(costs) * 1e9


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began
