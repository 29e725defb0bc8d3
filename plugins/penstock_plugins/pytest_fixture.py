"""The pytest fixture `penstock_kernel`: a kernel whose providers answer from a list, for the tests of apps.

    def test_my_app_waits_its_turn(penstock_kernel):
        kernel = penstock_kernel(answers=[RateLimitedError(retry_after=2), "yes"])
        assert kernel.run(my_app) == "yes"

Its type, for annotations, is `penstock.testing.PenstockKernel`. It lies here because pytest imports it at every start:
this package is empty, and penstock itself is imported only for a test that asks for the fixture, after whatever
measures coverage has begun.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from penstock.testing import PenstockKernel

PASSED = pytest.StashKey[bool]()
"""Whether the body of a test passed. Not there: it was never run."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes how the test itself went: a fixture is not told when it ends."""
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def penstock_kernel(request: pytest.FixtureRequest) -> Generator[PenstockKernel]:
    """Makes kernels whose providers answer from a list: see `penstock.testing.AnsweredKernel`. No key, no network."""
    from penstock.testing import PenstockKernel  # noqa: PLC0415 - see above

    maker = PenstockKernel()
    yield maker
    maker.check()
    # A test that failed, or skipped itself, stopped before it could ask for the rest.
    if request.node.stash.get(PASSED, False):
        maker.check_all_asked()
