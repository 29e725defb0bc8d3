"""A tool call built by hand is the same call on every wire."""

from __future__ import annotations

import pytest

from penstock import ToolCall


def test_arguments_are_read_from_what_was_written() -> None:
    call = ToolCall("1", "weather", raw_arguments='{"city": "Oslo"}')
    assert call.arguments == {"city": "Oslo"}
    assert not call.malformed


@pytest.mark.parametrize("raw", ["", "  ", "null"])
def test_nothing_and_null_mean_no_arguments(raw: str) -> None:
    call = ToolCall.parse("1", "now", raw)
    assert (call.arguments, call.malformed) == ({}, False)


def test_what_is_no_object_is_malformed_and_kept() -> None:
    call = ToolCall.parse("1", "weather", '{"city": ')
    assert (call.arguments, call.malformed, call.raw_arguments) == ({}, True, '{"city": ')
