"""One Valkey for the tests that share it, each with a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from valkey_process import Valkey, running


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running(tmp_path_factory.mktemp("valkey")) as server:
        yield server
