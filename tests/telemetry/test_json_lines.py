"""Log records as lines of JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.telemetry import JsonFormatter


@pytest.fixture
def lines() -> Iterator[Any]:
    """A logger and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("penstock.test_json_lines")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_a_record_is_one_line_with_its_fields(lines: Any) -> None:
    logger, told = lines
    logger.info("call %s ended\nwell", "c-1", extra={"call_id": "c-1", "attempts": 2, "cost_usd": None, "odd": [1]})
    (line,) = told()
    assert line["message"] == "call c-1 ended\nwell"
    assert (line["level"], line["logger"]) == ("info", "penstock.test_json_lines")
    assert (line["call_id"], line["attempts"], line["cost_usd"], line["odd"]) == ("c-1", 2, None, "[1]")
    assert line["time"].endswith("+00:00")


def test_of_an_exception_only_its_type_is_told_and_where_it_was_raised(lines: Any) -> None:
    logger, told = lines
    try:
        raise ValueError("the prompt")
    except ValueError:
        logger.exception("it failed")
    (line,) = told()
    assert line["exception"] == "ValueError"
    assert "test_json_lines.py:" in line["raised_at"]
    assert "the prompt" not in str(line)


def test_a_field_does_not_take_the_place_of_what_every_line_has(lines: Any) -> None:
    logger, told = lines
    logger.info("ended", extra={"time": "never", "level": "none"})
    (line,) = told()
    assert line["level"] == "info"
    assert line["time"] != "never"


def test_numbers_that_json_has_no_word_for_are_told_as_texts(lines: Any) -> None:
    logger, told = lines
    logger.info("ended", extra={"metadata_a": float("nan"), "metadata_b": float("-inf"), "metadata_c": 1.5})
    (line,) = told()
    assert (line["metadata_a"], line["metadata_b"], line["metadata_c"]) == ("nan", "-inf", 1.5)


class _Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("canary")

    __repr__ = __str__


@pytest.mark.parametrize("value", [_Unwritable(), [_Unwritable()], 10**5_000], ids=["object", "list", "int"])
def test_what_cannot_be_written_is_told_by_its_type_and_the_rest_of_the_line_is_not_lost(value: object) -> None:
    record = logging.makeLogRecord({"msg": "ended", "odd": value, "call_id": "c-1"})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["call_id"]) == ("ended", "c-1")
    assert line["odd"].startswith(f"<{type(value).__name__}: its text raised ")
    assert "canary" not in str(line)


@pytest.mark.parametrize(
    ("message", "args", "told"),
    [
        ("call %s", (_Unwritable(),), "call %s"),
        ("%d calls of %s", ("one",), "%d calls of %s"),
        (_Unwritable(), (), "<_Unwritable: its text raised RuntimeError>"),
    ],
)
def test_a_message_that_cannot_be_put_together_is_told_as_it_stands(
    message: object, args: tuple[object, ...], told: str
) -> None:
    record = logging.makeLogRecord({"msg": message, "args": args})
    assert json.loads(JsonFormatter().format(record))["message"] == told
