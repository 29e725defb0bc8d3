"""Which price a model has at which provider, where it is from, and what is done where no list is of use."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from distributions import prices_read_anew, prices_without_the_package
from genai_prices import data_snapshot

from penstock.types import Price
from penstock_plugins import prices
from penstock_plugins.prices import penstock_price, price_lists
from penstock_plugins.prices.conversion import price_from
from penstock_plugins.prices.listing import ListedPrices, spellings
from penstock_plugins.prices.snapshot import Snapshot, the_snapshot

NOW = datetime(2026, 11, 27, tzinfo=UTC).timestamp()
OPENROUTER = "https://openrouter.ai/api/v1"


@pytest.fixture(params=["snapshot", "package"])
def which(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With the package, and as it is without it."""
    with prices_without_the_package(monkeypatch) if request.param == "snapshot" else prices_read_anew():
        yield request.param


def price(model: str, kind: str = "openai", base_url: str | None = None, now: float = NOW) -> Price | None:
    return penstock_price(model, kind, base_url, now)


def in_usd(found: Price | None) -> tuple[float, float]:
    assert found is not None
    return found.input / 1e9, found.output / 1e9


@pytest.mark.parametrize(
    ("model", "kind", "base_url", "usd"),
    [
        ("gpt-4o", "openai", None, (2.5, 10)),
        ("gpt-4o", "openai", "https://api.openai.com/v1", (2.5, 10)),
        ("GPT-4o", "openai", None, (2.5, 10)),
        ("gpt-4o-2024-05-13", "openai", None, (5, 15)),
        ("gpt-4o-audio-preview", "openai", None, (2.5, 10)),
        ("claude-3-haiku-20240307", "anthropic", "https://api.anthropic.com", (0.25, 1.25)),
        ("gpt-4o", "openai", "https://acme.openai.azure.com/openai/v1", (2.5, 10)),
        ("claude-sonnet-4@20250514", "anthropic", "https://us-east5-aiplatform.googleapis.com/v1/p", (3, 15)),
        ("openai/gpt-4o", "openai", OPENROUTER, (2.5, 10)),
        ("openai/gpt-oss-20b:free", "openai", OPENROUTER, (0, 0)),
        ("gpt-4o", "openai", "http://127.0.0.1:8080/v1", (2.5, 10)),
        ("gpt-4o", "openai", "http://[::1]:8080/v1", (2.5, 10)),
        ("gpt-4o", "openai", "http://localhost/v1", (2.5, 10)),
    ],
)
def test_a_model_costs_what_it_costs_where_it_is_asked(
    which: str, model: str, kind: str, base_url: str | None, usd: tuple[float, float]
) -> None:
    found = price(model, kind, base_url)
    assert in_usd(found) == usd
    assert found is not None
    assert found.source.startswith(which if which == "snapshot" else "genai-prices 0.")


@pytest.mark.parametrize(
    ("model", "kind", "base_url"),
    [
        ("", "openai", None),
        ("gpt-4o-2024", "openai", None),
        ("openai/gpt-4o", "openai", None),
        ("llama3.3:70b", "openai", "http://127.0.0.1:11434/v1"),
        ("gpt-4o", "openai", "https://gateway.example/v1"),
        ("gpt-4o", "openai", "http://10.0.0.7/v1"),
        ("gpt-4o", "openai", "https://localhost.example/v1"),
        ("gpt-4o", "acme", None),
        ("gpt-4o", "anthropic", None),
        ("claude-sonnet-4", "openai", None),
        ("whisper-1", "openai", None),
    ],
)
def test_a_model_has_no_price_where_nobody_knows_it(which: str, model: str, kind: str, base_url: str | None) -> None:
    assert price(model, kind, base_url) is None, which


def test_a_reseller_has_its_own_prices(which: str) -> None:
    assert in_usd(price("deepseek/deepseek-chat", "openai", OPENROUTER)) != in_usd(
        price("deepseek-chat", "openai", "https://api.deepseek.com/v1")
    ), which


def test_a_price_says_of_which_day_it_is(which: str) -> None:
    found = price("gpt-4o")
    assert found is not None
    assert found.as_of == (the_snapshot().day if which == "snapshot" else "")
    datetime.fromisoformat(the_snapshot().day)


def test_what_the_package_does_not_know_the_snapshot_may(monkeypatch: pytest.MonkeyPatch) -> None:
    only_ours = data_snapshot.DataSnapshot(providers=[], from_auto_update=False)
    monkeypatch.setattr(data_snapshot, "_custom_snapshot", only_ours)
    with prices_read_anew():
        found = price("gpt-4o")
    assert found is not None
    assert found.source == f"snapshot {the_snapshot().day}"


def test_a_package_that_does_not_work_is_told_of_once_and_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("sk-canary")

    monkeypatch.setattr("penstock_plugins.prices.package.get_snapshot", broken)
    with prices_read_anew(), caplog.at_level(logging.WARNING, "penstock"):
        assert [each.source for each in price_lists()] == [the_snapshot().source]
        assert price("gpt-4o") is not None
    assert caplog.text.count("does not work (RuntimeError)") == 1
    assert "canary" not in caplog.text


def test_no_price_is_fetched_from_anywhere(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def dial(*_: Any) -> Any:
        raise AssertionError("a price was looked for in the network")

    monkeypatch.setattr(socket.socket, "connect", dial)
    monkeypatch.setattr(socket, "getaddrinfo", dial)
    assert price("gpt-4o", now=NOW + 10 * 365 * 86_400) is not None, which


@pytest.mark.slow
def test_importing_penstock_reads_no_prices() -> None:
    says = (
        "import sys, penstock, penstock_plugins.prices as p; from penstock_plugins.prices import snapshot as s;"
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules;"
        "assert s.the_snapshot.cache_info().currsize == 0 and s._models.cache_info().currsize == 0;"
        "p.the_snapshot().find('anthropic', 'claude-3-haiku-20240307'); assert s._models.cache_info().currsize == 1"
    )
    subprocess.run([sys.executable, "-c", says], check=True)


def test_the_snapshot_names_its_source_and_licence() -> None:
    index = Snapshot().index
    assert (index.package, index.url) == ("genai-prices", "https://github.com/pydantic/genai-prices")
    assert "MIT" in index.licence
    licence = Path(prices.__file__).with_name("snapshot") / "LICENSE"
    assert "MIT License" in licence.read_text()


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("GPT-5.2", ("gpt-5.2",)),
        ("gpt-5.2-20251211", ("gpt-5.2-20251211", "gpt-5.2-2025-12-11")),
        ("gpt-5.2-20251211:batch", ("gpt-5.2-20251211:batch", "gpt-5.2-2025-12-11:batch")),
        ("gpt-5.2-20250231", ("gpt-5.2-20250231",)),
        ("gpt-5.2-2025-12-11", ("gpt-5.2-2025-12-11",)),
    ],
)
def test_the_day_of_a_release_may_be_written_without_dashes(name: str, spelled: tuple[str, ...]) -> None:
    assert spellings(name) == spelled


@pytest.mark.parametrize("key", ["audio_hours", "input_mchars", "input_document_kpages", "a_unit_of_tomorrow"])
def test_a_bill_with_a_part_that_no_usage_tells_has_no_price(key: str) -> None:
    listed = (ListedPrices({"input_mtok": "1", "output_mtok": "2", key: "3"}),)
    assert price_from(listed, NOW, as_of="", source="") is None


def test_digits_beyond_a_nano_usd_are_rounded_up() -> None:
    found = price_from((ListedPrices({"input_mtok": "0.0416666666666667"}),), NOW, as_of="", source="")
    assert found is not None
    assert found.input == 41_666_667


def test_the_default_models_keep_their_dearer_long_prompts() -> None:
    found = price("gpt-5.4", now=NOW)
    assert found is not None
    assert found.long is not None
    assert (found.long_above, found.long.input) == (272_000, 5_000_000_000)
