"""transform, fail, sleep, flow; and what every type promises."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.clock import SECOND, from_rfc3339
from perdure.nodes.fail import FailNode
from perdure.nodes.flow import FlowCall, parse_flow_config
from perdure.nodes.interface import NodeFailed, NodeType
from perdure.nodes.registry import load_node_types
from perdure.nodes.runtime import NodeRuntime, RuntimeSettings
from perdure.nodes.sleep import SleepNode, sleep_until
from perdure.nodes.transform import TransformNode
from tests.nodes.conftest import make_call

TYPES = load_node_types(NodeRuntime(RuntimeSettings(home="nowhere")))
NOW = from_rfc3339("2026-11-22T12:00:00Z")


@pytest.mark.parametrize("node_type", TYPES.values(), ids=TYPES)
def test_a_types_schema_is_one_and_takes_its_examples(node_type: NodeType) -> None:
    validator = jsonschema_rs.validator_for(node_type.config_schema)
    assert node_type.config_schema["description"]
    assert node_type.examples
    for example in node_type.examples:
        validator.validate(example)


def test_the_built_in_types() -> None:
    assert {name for name, node_type in TYPES.items() if not node_type.control} >= {
        "fail", "http", "python", "shell", "transform",
    }  # fmt: skip
    assert {name for name, node_type in TYPES.items() if node_type.control} == {
        "approval", "ask", "flow", "signal", "sleep",
    }  # fmt: skip


async def test_control_types_are_not_run() -> None:
    with pytest.raises(TypeError):
        await TYPES["sleep"].run(make_call("1s"))


async def test_transform_gives_what_was_rendered() -> None:
    value = {"a": [1, None, "x"]}
    assert await TransformNode().run(make_call(value)) == value


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ("no more", "failed_on_purpose", "no more"),
        ({"message": "few", "code": "too_few"}, "too_few", "few"),
        (7, "failed_on_purpose", "7"),
        ({"why": [True]}, "failed_on_purpose", '{"why":[true]}'),
        ({"message": {"n": None}, "code": "odd"}, "odd", '{"n":null}'),
    ],
)
async def test_fail_fails_for_good(config: Any, code: str, message: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        await FailNode().run(make_call(config))
    failure = caught.value.failure
    assert (failure.code, failure.message, failure.retryable, failure.error_types) == (code, message, False, (code,))


@pytest.mark.parametrize(
    ("config", "until"),
    [
        ("10s", NOW + 10 * SECOND),
        (2.5, NOW + 2_500_000),
        (0, NOW),
        ({"until": "2026-11-22T13:00:00+00:00"}, NOW + 3600 * SECOND),
        ({"until": "2026-11-22T14:00:00+02:00"}, NOW),
        ({"until": "2020-01-01T00:00:00Z"}, NOW),
    ],
)
def test_sleep_is_until(config: Any, until: int) -> None:
    assert sleep_until(config, NOW) == until


@pytest.mark.parametrize(
    "config",
    ["", "soon", -1, True, None, [], {}, {"until": 5}, {"until": "2026-11-22T13:00:00"}, {"until": "x", "y": 1}],
)
def test_what_is_no_time_to_sleep_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        sleep_until(config, NOW)


@given(st.integers(0, 10**8))
def test_sleep_never_ends_before_it_begins(seconds: int) -> None:
    assert sleep_until(seconds, NOW) >= NOW


@pytest.mark.parametrize(
    ("config", "with_", "call"),
    [
        ("a/b", {"x": 1}, FlowCall(flow="a/b", input={"x": 1})),
        ("b", None, FlowCall(flow="default/b", input={})),
        ({"flow": "a/b", "version": "3"}, {}, FlowCall(flow="a/b", version=3, input={})),
        ({"flow": "a/b", "version": "latest"}, {}, FlowCall(flow="a/b", input={})),
        ({"flow": "a/b", "input": None}, {"x": 1}, FlowCall(flow="a/b", input=None)),
    ],
)
def test_flow_calls(config: Any, with_: Any, call: FlowCall) -> None:
    assert parse_flow_config(config, with_) == call


@pytest.mark.parametrize(
    "config",
    [None, 3, {}, {"flow": 3}, "a/b/c", "A/b", {"flow": "a/b", "version": 0}, {"flow": "a/b", "version": True}],
)
def test_what_calls_no_flow_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_flow_config(config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("-1s", ["'-1s' is no duration"]), ("soon", ["'soon' is no duration"]), ("100000d", ["is out of range: from 0 to 3650d"]),
        ({"until": "yesterday"}, ["'yesterday' is no time with an offset"]), ("${input.pause}", []), ("5s", []), (2.5, []),
        ({"until": "${input.until}"}, []), ({"until": "2026-12-24T18:00:00+01:00"}, []),
    ],
)  # fmt: skip
def test_a_time_to_sleep_that_is_none_is_warned_of_where_it_is_written(config: Any, told: list[str]) -> None:
    details = [problem.detail for problem in SleepNode().warn(config)]
    assert len(details) == len(told)
    assert all(part in detail for part, detail in zip(told, details, strict=True))
