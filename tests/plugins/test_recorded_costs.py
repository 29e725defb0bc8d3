"""What recorded answers cost: read by our codecs and priced by us, beside genai-prices reading the same bytes."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from genai_prices import data_snapshot
from genai_prices.data_snapshot import DataSnapshot
from recorded import Recording, recordings

from penstock.abc import Provider
from penstock.policy.money import cost
from penstock_plugins.prices import penstock_price
from penstock_providers.anthropic_messages import AnthropicMessages
from penstock_providers.openai_chat import OpenAIChat

NOW = datetime(2026, 11, 27, tzinfo=UTC)
SOURCES: tuple[tuple[str, str, str, str, Provider], ...] = (
    ("anthropic-messages", "anthropic", "anthropic", "default", AnthropicMessages()),
    ("openai-chat", "openai", "openai", "chat", OpenAIChat()),
)


def reports_plainly(body: Any) -> bool:
    """There is a usage, of one pass. Others (summaries, advice of another model) genai-prices leaves out of it."""
    return isinstance(body.get("usage"), dict) and not body["usage"].get("iterations")


ANSWERED = [
    (recording, kind, vendor, flavor, codec)
    for folder, kind, vendor, flavor, codec in SOURCES
    for recording in recordings(folder)
    if recording.response.status == 200 and not recording.streamed and reports_plainly(recording.response.body)
]


@pytest.mark.parametrize(
    ("recording", "kind", "vendor", "flavor", "codec"), ANSWERED, ids=lambda value: getattr(value, "name", "")
)
def test_a_recorded_answer_costs_what_genai_prices_says(
    recording: Recording, kind: str, vendor: str, flavor: str, codec: Provider
) -> None:
    body: Any = recording.response.body
    prices: DataSnapshot = data_snapshot.get_snapshot()
    extracted = prices.extract_usage(body, vendor, None, flavor)
    price = penstock_price(body["model"], kind, None, NOW.timestamp())
    if extracted.model is None or price is None:
        pytest.skip(f"nobody knows what {body['model']} costs")
    theirs = extracted.calc_price(genai_request_timestamp=NOW).total_price
    usage = codec.decode(recording.whole()).usage
    assert usage is not None
    assert cost(usage, price, NOW.timestamp()) == math.ceil(theirs * 10**9)


def test_fields_of_a_usage_that_nobody_knows_change_no_cost() -> None:
    price = penstock_price("gpt-4o", "openai", None, NOW.timestamp())
    assert price is not None
    (recording, *_), *_ = [each for each in ANSWERED if each[1] == "openai"]
    body: Any = recording.response.body
    plain = OpenAIChat().decode(recording.whole()).usage
    told = {**body["usage"], "tokens_of_tomorrow": {"left": [1]}, "service_tier": None, "cost": "0.1"}
    odd = msgspec.structs.replace(recording.response, body={**body, "usage": told})
    usage = OpenAIChat().decode(msgspec.structs.replace(recording, response=odd).whole()).usage
    assert plain is not None
    assert usage is not None
    assert cost(usage, price) == cost(plain, price)
