"""Faults that are error responses: each on both wires and both fronts, as a client hears it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
import rehearsing
import trio
from rehearsing import Anthropic, Front, OpenAI, Wire, ask, client_of, faulty, listen, play

from penstock_plugins.rehearsal import Fault, faults

fronts = pytest.mark.parametrize("front", rehearsing.FRONTS)
wires = pytest.mark.parametrize("wire", [OpenAI(), Anthropic()], ids=["openai", "anthropic"])

STATUSES: list[tuple[Fault, tuple[int, str], tuple[int, str]]] = [
    (faults.RateLimit(), (429, "rate_limit_exceeded"), (429, "rate_limit_error")),
    (faults.Quota(), (429, "insufficient_quota"), (402, "billing_error")),
    (faults.ServerFailure(), (500, "server_error"), (500, "api_error")),
    (faults.ServerFailure(status=504), (504, "server_error"), (504, "api_error")),
    (faults.Overloaded(), (503, "overloaded"), (529, "overloaded_error")),
    (faults.WrongKey(), (401, "invalid_api_key"), (401, "authentication_error")),
    (faults.PermissionDenied(), (403, "permission_denied"), (403, "permission_error")),
    (faults.ModelNotFound(), (404, "model_not_found"), (404, "not_found_error")),
    (faults.InvalidRequest(), (400, "invalid_request_error"), (400, "invalid_request_error")),
    (faults.ContextLength(), (400, "context_length_exceeded"), (400, "prompt is too long")),
    (faults.FilteredRequest(), (400, "content_filter"), (400, "content filtering")),
    (faults.Html(), (502, "<html>"), (502, "<html>")),
]


@fronts
@wires
@pytest.mark.parametrize("case", STATUSES, ids=[faults.fault_name(case[0]) for case in STATUSES])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_has_its_status_and_its_word(
    front: Front, wire: Wire, case: tuple[Fault, tuple[int, str], tuple[int, str]], *, stream: bool
) -> None:
    fault, openai, anthropic = case
    status, word = openai if wire.name == "openai" else anthropic
    upstream = faulty(fault)
    heard = ask(front, upstream, wire, wire.body(stream=stream))
    assert heard.error is None
    assert heard.status == status
    assert word in heard.body.decode()
    served = upstream.statistics().served()
    assert served.output_tokens == served.completed == 0
    assert served.refused == (1 if status < 500 else 0)
    # An error of theirs may come after the work was done; a refusal never does.
    assert (served.input_tokens > 0) == (status >= 500)


@fronts
@wires
@pytest.mark.parametrize(
    ("hint", "name", "value"),
    [("none", None, ""), ("seconds", "retry-after", "1.5"), ("milliseconds", "retry-after-ms", "1500")],
)
def test_a_rate_limit_tells_when_to_come_back_in_the_spelling_asked_for(
    front: Front, wire: Wire, hint: faults.Hint, name: str | None, value: str
) -> None:
    heard = ask(front, faulty(faults.RateLimit(hint=hint, after_s=1.5)), wire, wire.body())
    assert heard.response is not None
    told = {key: text for key, text in heard.response.headers.items() if "retry-after" in key or "ratelimit" in key}
    assert told == ({} if name is None else {name: value})
    assert "again in" not in heard.body.decode()


@fronts
@wires
def test_a_date_to_come_back_at_is_never_too_early(front: Front, wire: Wire) -> None:
    before = time.time()
    heard = ask(front, faulty(faults.RateLimit(hint="date", after_s=30)), wire, wire.body())
    assert heard.response is not None
    moment = parsedate_to_datetime(heard.response.headers["retry-after"]).timestamp()
    assert before + 30 <= moment <= time.time() + 31


def test_dates_go_with_virtual_time() -> None:
    wire, upstream = OpenAI(), faulty(faults.RateLimit(hint="date", after_s=30))
    dates: list[float] = []

    async def story() -> None:
        async with client_of("transport", upstream) as client:
            for _ in range(2):
                heard = await listen(client, wire, wire.body())
                assert heard.response is not None
                told = [heard.response.headers[name] for name in ("date", "retry-after")]
                dates.extend(parsedate_to_datetime(date).timestamp() for date in told)
                await trio.sleep(1000)

    play("transport", story)
    assert dates[2] - dates[0] == pytest.approx(1000, abs=1)
    assert dates[3] - dates[1] == pytest.approx(1000, abs=1)


@fronts
@wires
def test_a_hint_may_stand_in_the_sentence_alone(front: Front, wire: Wire) -> None:
    heard = ask(front, faulty(faults.RateLimit(hint="message", after_s=2.5)), wire, wire.body())
    assert heard.response is not None
    assert "Please try again in 2.5s." in heard.json["error"]["message"]
    assert "retry-after" not in heard.response.headers


@fronts
@wires
def test_a_used_up_limit_tells_its_reset_in_the_wires_own_way(front: Front, wire: Wire) -> None:
    before = time.time()
    heard = ask(front, faulty(faults.RateLimit(hint="reset", after_s=4)), wire, wire.body())
    assert heard.response is not None
    headers = heard.response.headers
    if wire.name == "openai":
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        assert headers["x-ratelimit-reset-tokens"] == "4s"
    else:
        assert headers["anthropic-ratelimit-tokens-remaining"] == "0"
        moment = datetime.fromisoformat(headers["anthropic-ratelimit-tokens-reset"])
        assert moment.tzinfo == UTC
        assert before + 4 <= moment.timestamp() <= time.time() + 5


@fronts
@wires
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_gateways_page_can_come_as_a_success(front: Front, wire: Wire, *, stream: bool) -> None:
    heard = ask(front, faulty(faults.Html(status=200)), wire, wire.body(stream=stream))
    assert heard.status == 200
    assert heard.response is not None
    assert heard.response.headers["content-type"].startswith("text/html")
    assert heard.body.startswith(b"<html>")
