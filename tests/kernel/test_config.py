"""What a right configuration says: values, what is laid over what, names that need no declaration, nothing leaked."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock._config import Config, Stage, Timeouts
from penstock.errors import ConfigError, NoRouteError
from penstock.policy.money import usd
from penstock.policy.retry_budget import RetryBudgetSettings
from penstock.policy.window import Per

OPENAI, ANTHROPIC = "sk-canary-openai", "sk-canary-anthropic"
ENVIRON = {"OPENAI_API_KEY": OPENAI, "ANTHROPIC_API_KEY": ANTHROPIC}

WHOLE = """
[kernel]
max_in_flight = 64
grace = 3
timeout = 120.5

[providers.anthropic]
api_key = "env:ANTHROPIC_API_KEY"
breaker = { open_for = 7 }
retry_budget = { floor = 4, money_ratio = 0.1 }
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:8080/v1"
max_connections = 100

[targets.sonnet]
provider = "anthropic"
model = "claude-sonnet-4-20250514"
timeouts = { connect = 4, first_token = 20, idle = 15, total = 300 }
params = { temperature = 0.2 }
headers = { X-Team = "search" }
price = { input = 3.0, cached_input = 0.3, cache_write = 3.75, output = 15, reasoning = 20, request = 0.005 }
default_max_tokens = 4096
breaker = { failures_in_a_row = 9 }
[targets.local]
provider = "local"
model = "org/model-7b"

[routes.default]
cascade = [ { target = "sonnet", attempts = 4 }, { target = "openai/gpt-4o", attempts = 2 }, "local" ]
timeout = 180
commit = "first_content"
on_content_filter = "next"
cache = "never"
[routes.batch]
cascade = ["anthropic/claude-3-haiku-20240307"]
cache = { when = "always" }
all_open = "ignore"

[defaults]
timeouts = { write = 11, total = 99 }
params = { top_p = 0.5, temperature = 1 }
headers = { x-app = "demo" }

[breaker]
failures_in_a_row = 3
slow_ratio = 0.25
all_open = "fail"

[retry_budget]
ratio = 0.5
window = 20

[budget]
limits = [
  { per = "day", usd = 20, timezone = "Europe/Berlin" },
  { per = "minute", tokens = 10_000, rolling = true },
]
soft = 0.8
on_unknown_price = "allow"
on_unknown_bound = "estimate"
hold_wait = 2
min_output_tokens = 256
[accounts."team/search"]
limits = [ { per = "day", tokens = 1_000_000 }, { per = "request", input_tokens = 8_000, output_tokens = 2_000 } ]
tenant = "search"
[accounts."users/*"]
limits = [ { per = "hour", usd = 0.000000001 } ]

[ledger]
store = "memory"

[cache]
store = "memory"
ttl = 60
when = "always"
memory_bytes = 1_048_576

[plugins]
discover = false
allow = ["penstock"]
"""


@pytest.fixture
def whole(tmp_path: Path) -> Config:
    file = tmp_path / "penstock.toml"
    file.write_text(WHOLE)
    return Config.load(file, environ=ENVIRON)


def test_everything_that_can_be_said_is_read(whole: Config, tmp_path: Path) -> None:
    assert (whole.kernel.max_in_flight, whole.kernel.grace, whole.kernel.timeout) == (64, 3.0, 120.5)
    assert set(whole.providers) == {"anthropic", "local", "openai"}
    assert whole.providers["local"].kind == "openai"
    assert whole.providers["local"].max_connections == 100
    assert whole.providers["local"].options == {"base_url": "http://127.0.0.1:8080/v1"}
    assert whole.targets["sonnet"].default_max_tokens == 4096
    assert whole.routes["default"].stages == (Stage("sonnet", 4), Stage("openai/gpt-4o", 2), Stage("local", 3))
    assert (whole.routes["default"].timeout, whole.routes["default"].on_content_filter) == (180.0, "next")
    assert (whole.routes["default"].cache, whole.routes["batch"].cache) == ("never", "always")
    assert whole.cache is not None
    assert (whole.cache.ttl, whole.cache.when, whole.cache.memory_bytes) == (60.0, "always", 1_048_576)
    assert (whole.plugins.discover, whole.plugins.allow) == (False, ("penstock",))
    assert whole.source == tmp_path / "penstock.toml"


def test_the_budget_is_a_tree_with_exact_money(whole: Config) -> None:
    root, search, users = whole.budget.accounts
    assert (root.path, root.soft, search.path, search.tenant, users.path) == (
        "",
        (0.8,),
        "team/search",
        "search",
        "users/*",
    )
    day, minute = root.limits
    assert (day.per, day.nano_usd, day.timezone, day.rolling) == (Per.DAY, 20 * 10**9, "Europe/Berlin", False)
    assert (minute.per, minute.tokens, minute.rolling) == (Per.MINUTE, 10_000, True)
    assert search.limits[1].output_tokens == 2_000
    assert users.limits[0].nano_usd == 1
    assert whole.budget.on_unknown_price == "allow"
    assert whole.budget.on_unknown_bound == "estimate"
    assert (whole.budget.hold_wait, whole.budget.min_output_tokens) == (2.0, 256)


def test_prices_are_exact(whole: Config) -> None:
    price = whole.targets["sonnet"].price
    assert price is not None
    assert [usd(price.input), usd(price.output)] == [Decimal(3), Decimal(15)]
    assert price.cached_input == 300_000_000
    assert price.cache_write == 3_750_000_000
    assert (price.reasoning, price.request) == (20_000_000_000, 5_000_000)
    assert price.source == "toml"


def test_a_targets_own_settings_lie_over_the_defaults(whole: Config) -> None:
    sonnet = whole.resolve_target("sonnet")
    assert sonnet.timeouts == Timeouts(
        connect=4, write=11, first_token=20, idle=15, total=300, given=sonnet.timeouts.given
    )
    assert sonnet.params == {"top_p": 0.5, "temperature": 0.2}
    assert sonnet.headers == {"x-app": "demo", "x-team": "search"}


def test_an_undeclared_target_takes_the_defaults(whole: Config) -> None:
    target = whole.resolve_target("openai/gpt-4o")
    assert (target.name, target.provider, target.model) == ("openai/gpt-4o", "openai", "gpt-4o")
    assert (target.timeouts.write, target.timeouts.total, target.timeouts.first_token) == (11.0, 99.0, 30.0)
    assert target.params == {"top_p": 0.5, "temperature": 1}
    assert target.headers == {"x-app": "demo"}


def test_a_model_may_hold_slashes(whole: Config) -> None:
    assert whole.resolve_target("local/org/model-7b").model == "org/model-7b"
    assert whole.resolve_target("local").model == "org/model-7b"


def test_timeouts_that_are_configured_stay_when_a_model_thinks(whole: Config) -> None:
    thinking = whole.resolve_target("sonnet").timeouts.for_thinking()
    assert (thinking.first_token, thinking.idle, thinking.total) == (20.0, 15.0, 300.0)
    patient = whole.resolve_target("openai/gpt-4o").timeouts.for_thinking()
    assert (patient.first_token, patient.idle, patient.total) == (300.0, 120.0, 99.0)


def test_breakers_inherit_from_provider_and_root(whole: Config) -> None:
    def of(scope: str) -> tuple[int, float, float]:
        settings = whole.breaker_settings(scope)
        return (settings.failures_in_a_row, settings.slow_ratio, settings.open_for)

    assert of("provider:openai") == (3, 0.25, 5.0)
    assert of("provider:anthropic") == (3, 0.25, 7.0)
    assert of("key:anthropic/0") == (3, 0.25, 7.0)
    assert of("target:sonnet") == (9, 0.25, 7.0)
    assert of("target:anthropic/claude-3-haiku-20240307") == (3, 0.25, 7.0)
    assert of("target:openai/gpt-4o") == (3, 0.25, 5.0)
    assert of("target:never-heard-of") == (3, 0.25, 5.0)


def test_what_calls_do_where_all_breakers_are_open_is_of_the_kernel_and_of_each_route(whole: Config) -> None:
    assert whole.all_open == "fail"
    assert {route.all_open for route in whole.routes.values()} == {None, "ignore"}


def test_retry_budgets_inherit_from_the_root(whole: Config) -> None:
    assert whole.retry_budget_settings("openai") == RetryBudgetSettings(ratio=0.5, window=20.0)
    own = RetryBudgetSettings(floor=4, ratio=0.5, window=20.0, money_ratio=0.1)
    assert whole.retry_budget_settings("anthropic") == own
    assert whole.retry_budget_settings("never-heard-of") == whole.retry_budget


def test_an_empty_configuration_has_the_documented_defaults() -> None:
    config = Config.from_dict({}, environ={})
    assert (config.kernel.max_in_flight, config.kernel.grace, config.kernel.timeout) == (512, 10.0, 600.0)
    timeouts = config.defaults.timeouts
    assert (timeouts.connect, timeouts.write, timeouts.first_token, timeouts.idle, timeouts.total) == (
        5,
        30,
        30,
        30,
        600,
    )
    assert config.cache is None
    assert config.ledger.store == "memory"
    assert (config.budget.on_unknown_price, config.budget.on_unknown_bound) == ("deny", "deny")
    assert (config.budget.hold_wait, config.budget.min_output_tokens, config.budget.accounts) == (5.0, 1024, ())
    assert config.breaker.failures_in_a_row == 5
    assert config.all_open == "soonest"
    assert config.retry_budget == RetryBudgetSettings(floor=10, ratio=0.2, window=10.0, money_ratio=None)


def test_what_was_read_does_not_change_with_the_mapping() -> None:
    mapping: dict[str, Any] = {"defaults": {"params": {"stop": ["a"]}}}
    config = Config.from_dict(mapping, environ={})
    mapping["defaults"]["params"]["stop"].append("b")
    assert config.defaults.params == {"stop": ["a"]}


def test_a_target_handed_out_can_be_changed_without_changing_the_defaults() -> None:
    mapping = {"routes": {"default": {"cascade": ["openai/a"]}}, "defaults": {"params": {"seed": 1}}}
    config = Config.from_dict(mapping, environ=ENVIRON)
    config.resolve_target("openai/a").params["seed"] = 2
    assert config.resolve_target("openai/b").params == {"seed": 1}


def test_the_seeds_cascade_is_one_line() -> None:
    stages = [("anthropic", "claude-sonnet-4-20250514", 3), ("openai", "gpt-4o", 2), ("anthropic", "claude-3-haiku", 5)]
    config = Config.cascade(stages, per_day_usd=20, environ=ENVIRON)
    assert [(stage.target, stage.attempts) for stage in config.route().stages] == [
        ("anthropic/claude-sonnet-4-20250514", 3),
        ("openai/gpt-4o", 2),
        ("anthropic/claude-3-haiku", 5),
    ]
    (root,) = config.budget.accounts
    assert [(limit.per, limit.nano_usd) for limit in root.limits] == [(Per.DAY, 20 * 10**9)]
    assert Config.cascade(stages, environ=ENVIRON).budget.accounts == ()


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3", 1_001])
def test_a_cascade_in_code_is_checked_like_one_in_a_file(attempts: Any) -> None:
    with pytest.raises(ConfigError, match=r"routes\.default\.cascade\[0\]\.attempts"):
        Config.cascade([("openai", "gpt-4o", attempts)], environ=ENVIRON)


def test_the_only_route_needs_no_name_and_several_need_one() -> None:
    one = Config.from_dict({"routes": {"only": {"cascade": ["openai/a"]}}}, environ=ENVIRON)
    assert one.route().name == "only"
    routes = {"one": {"cascade": ["openai/a"]}, "two": {"cascade": ["openai/b"]}}
    two = Config.from_dict({"routes": routes}, environ=ENVIRON)
    assert two.route("two").name == "two"
    with pytest.raises(NoRouteError, match="'default'"):
        two.route()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sonet", "did you mean 'sonnet'"),
        ("antropic/claude", "did you mean 'anthropic'"),
        ("openai/", "no target named 'openai/'"),
        ("/gpt-4o", "no provider named ''"),
        ("", "no target named ''"),
        ("x" * 100_000, "no target named"),
    ],
)
def test_a_target_that_cannot_be_resolved_names_the_nearest(whole: Config, name: str, says: str) -> None:
    with pytest.raises(NoRouteError, match=says):
        whole.resolve_target(name)


def test_an_unknown_route_names_the_nearest(whole: Config) -> None:
    with pytest.raises(NoRouteError, match="did you mean 'batch'"):
        whole.route("bach")


@pytest.mark.slow
def test_what_is_heavy_is_imported_only_when_a_configuration_is_read() -> None:
    script = (
        "import sys, penstock; heavy = {'cattrs', 'pluggy', 'zoneinfo._zoneinfo', 'penstock._discovery'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "penstock.Config; assert 'cattrs' not in sys.modules; penstock.Config.from_dict({});"
        "assert 'cattrs' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_name_of_any_length_is_told_shortened(whole: Config) -> None:
    with pytest.raises(NoRouteError) as caught:
        whole.resolve_target("x" * 100_000)
    assert len(str(caught.value)) < 1_000


def test_a_table_of_a_ledger_or_cache_that_names_no_store_means_one_that_lasts() -> None:
    config = Config.from_dict({"ledger": {"path": "books.db"}, "cache": {"path": "answers.db"}}, environ={})
    assert config.cache is not None
    assert (config.ledger.store, config.cache.store) == ("sqlite", "sqlite")
    unsaid = Config.from_dict({}, environ={})
    assert (unsaid.ledger.store, unsaid.cache) == ("memory", None)
