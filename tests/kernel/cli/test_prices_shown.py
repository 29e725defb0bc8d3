"""Where a price is from, and how old it is, as the command tells it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import run_command
from distributions import install_prices, installed, prices_without_the_package

from penstock import Config
from penstock.cli._inspection import Inspection, inspect
from penstock.cli._words import days_since
from penstock_plugins.prices.snapshot import the_snapshot

TAKEN = datetime.fromisoformat(the_snapshot().day).replace(tzinfo=UTC).timestamp()
DAY = 86_400
SETTINGS = {
    "providers": {"openai": {"api_key": "sk-canary"}, "gateway": {"kind": "openai", "base_url": "https://gw.example"}},
    "targets": {
        "own": {"provider": "gateway", "model": "gpt-4o", "price": {"input": 1, "output": 2, "request": 0.01}},
        "unknown": {"provider": "gateway", "model": "gpt-4o"},
    },
    "routes": {"default": {"cascade": ["openai/gpt-4o", "own", "unknown"]}},
}


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with prices_without_the_package(monkeypatch):
        yield


def after(days: int, **more: object) -> Inspection:
    return inspect(Config.from_dict({**SETTINGS, **more}), TAKEN + days * DAY, {})


@pytest.mark.usefixtures("no_package")
def test_each_target_says_where_its_price_is_from() -> None:
    told = {target.name: (target.price, target.priced_by) for target in after(0).targets}
    assert told == {
        "openai/gpt-4o": ("$2.50 / $10.00", f"snapshot {the_snapshot().day}"),
        "own": ("$1.00 / $2.00", "toml"),
        "unknown": ("unknown", "-"),
    }


def test_a_plugins_price_names_the_plugin(tmp_path: Path) -> None:
    with installed(tmp_path):
        install_prices(tmp_path, "cheap", prefix="gpt", price=7)
        told = {target.name: target.priced_by for target in after(0, plugins={"cheap": {}}).targets}
    assert told["unknown"] == told["openai/gpt-4o"] == "plugin cheap"
    assert told["own"] == "toml"


def test_the_installed_package_is_named_with_its_version() -> None:
    told = {target.name: target.priced_by for target in after(0).targets}
    assert told["openai/gpt-4o"].startswith("genai-prices 0.")


@pytest.mark.usefixtures("no_package")
def test_prices_older_than_90_days_are_noted() -> None:
    (old,) = [warning for warning in after(91).warnings if "days old" in warning]
    assert old.startswith(f"the prices of openai/gpt-4o are 91 days old (snapshot {the_snapshot().day}): update ")
    assert old.endswith("or install penstock[prices]")
    assert not any("days old" in warning for warning in after(90).warnings)


@pytest.mark.slow
def test_the_plugins_command_tells_the_price_lists_and_their_age() -> None:
    (line,) = [line for line in run_command("plugins").out.splitlines() if line.startswith("Prices: ")]
    assert line.startswith("Prices: genai-prices 0.")
    assert f"; then snapshot {the_snapshot().day}, " in line
    assert "days old" in line


@pytest.mark.parametrize(
    ("day", "days"), [("2026-01-01", 1), ("2026-01-02", 0), ("2026-02-01", -30), ("", None), ("lately", None)]
)
def test_days_are_counted_in_utc(day: str, days: int | None) -> None:
    assert days_since(day, datetime(2026, 1, 2, 23, 59, tzinfo=UTC).timestamp()) == days
