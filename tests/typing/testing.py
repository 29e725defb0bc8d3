"""Never run: what type checkers must infer of `penstock.testing`. Checked by mypy and pyright in every run."""

from __future__ import annotations

from typing import assert_type

import penstock
from penstock.testing import AnsweredKernel, PenstockKernel, Silence, keyless
from penstock.testing.chaos import Chaos, ChaosKernel, Exchanged
from penstock.types import Completion, Usage
from penstock_plugins.rehearsal import Statistics, faults


async def app(kernel: penstock.Kernel, question: str, *, times: int = 1) -> list[str]:
    return [(await kernel.complete(question)).text for _ in range(times)]


async def later(request: penstock.ChatRequest) -> str:
    return request.messages[0].text


def answers(penstock_kernel: PenstockKernel) -> None:
    staged = penstock_kernel(answers=[penstock.RateLimitedError(retry_after=2), "yes"])
    assert_type(staged, AnsweredKernel)
    assert_type(staged.run(app, "hello", times=2), list[str])
    assert_type(staged.seconds, float)
    assert_type(staged.requests, tuple[penstock.ChatRequest, ...])
    penstock_kernel(
        [penstock.ToolCall("1", "look"), penstock.Message.assistant("a"), Silence()], config="penstock.toml"
    )
    penstock_kernel([penstock.OverloadedError, ConnectionError("x"), later], config={"routes": {}}, seed=3)
    penstock_kernel([Completion(message=penstock.Message.assistant("a"), finish_reason="stop", usage=Usage())])
    penstock_kernel(lambda request: request.messages[0].text)
    staged.run(app)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    staged.run(app, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def blocks(penstock_kernel: PenstockKernel) -> None:
    async with penstock_kernel(answers=["yes"]) as kernel:
        assert_type(kernel, penstock.Kernel)
    async with Chaos(seed=7).against() as kernel:
        assert_type(kernel, penstock.Kernel)


def chaos() -> None:
    plan = Chaos(seed=7).at("sonnet", "rate_limit", first=3).between(10, 40, [faults.Overloaded(), "silence"])
    assert_type(plan.share(0.3, "cut_stream"), Chaos)
    run = plan.against(keyless("penstock.toml"))
    assert_type(run, ChaosKernel)
    assert_type(run.run(app, "hello"), list[str])
    assert_type(run.log, tuple[Exchanged, ...])
    assert_type(run.ledger, Statistics)
    assert_type(run.transcript, bytes)
