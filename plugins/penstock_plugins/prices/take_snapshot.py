"""`python -m penstock_plugins.prices.take_snapshot [DAY]`: takes the snapshot anew from the installed genai-prices.

For development only, in a checkout: it rewrites the files that `snapshot` reads. DAY is the day the release is known to
be the newest, ISO 8601; today where it is left out. Nothing is fetched.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from importlib.metadata import distribution
from pathlib import Path

import msgspec
from genai_prices.data import providers

from penstock_plugins.prices.listing import ListedModel
from penstock_plugins.prices.package import listed_model
from penstock_plugins.prices.snapshot import Index, IndexedProvider

__all__ = ["take_snapshot"]

FOLDER = Path(__file__).with_name("snapshot")


def take_snapshot(day: date, folder: Path = FOLDER) -> None:
    """Writes the index, the licence and a file for each provider, a model on each line."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    package = distribution("genai-prices")
    index = Index(
        package="genai-prices",
        version=package.version,
        url="https://github.com/pydantic/genai-prices",
        licence="MIT, in the file LICENSE",
        day=day.isoformat(),
        providers=tuple(
            IndexedProvider(each.id, each.api_pattern, tuple(each.fallback_model_providers or ())) for each in providers
        ),
    )
    (folder / "index.json").write_bytes(msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")
    licence = next(file for file in package.files or () if file.name == "LICENSE")
    (folder / "LICENSE").write_text(licence.read_text(encoding="utf-8"), encoding="utf-8")
    for each in providers:
        (folder / f"{each.id}.json").write_bytes(_lines(listed_model(model) for model in each.models))


def _lines(models: Iterable[ListedModel]) -> bytes:
    return b'{"models":[\n' + b",\n".join(map(msgspec.json.encode, models)) + b"\n]}\n"


if __name__ == "__main__":
    take_snapshot(date.fromisoformat(sys.argv[1]) if len(sys.argv) > 1 else datetime.now(UTC).date())
