"""How an action on many executions is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from perdure.api.call import Call
from perdure.api.resources.filtering import TextFilters, Uuid, execution_filter, text_filter
from perdure.api.resources.starts import given_key, request_hash
from perdure.auth.roles import Role
from perdure.base.ids import id_bytes
from perdure.base.tags import MAX_TAGS
from perdure.engine.operations import OperationRequest, Plan
from perdure.errors import InvalidIdentifier, InvalidRequest, Problem, invalid_request
from perdure.model.operation import Action
from perdure.model.replay import Reach
from perdure.wire.operations import MOST_IDS
from perdure.wire.replays import MOST_NODES, NodeId, Outputs, Version
from perdure.wire.scalars import IdempotencyKey, Json, TagKey, TagValue, Text


class BulkArguments(Struct, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from"}):
    """What the action takes, as it does for one execution: `reason` and `force` belong to cancel, `set` and `remove` to tag,
    `input`, `outputs` and `version` to retry and replay, `from` and `reuse` to replay alone; delete takes nothing."""

    reason: Annotated[Text, Meta(max_length=1000)] | UnsetType = UNSET
    force: bool | UnsetType = UNSET
    set: Annotated[dict[TagKey, TagValue], Meta(max_length=MAX_TAGS)] | UnsetType = UNSET
    remove: Annotated[list[TagKey], Meta(max_length=MAX_TAGS)] | UnsetType = UNSET
    begin: Annotated[list[NodeId], Meta(min_length=1, max_length=MOST_NODES)] | Literal["failed"] | UnsetType = UNSET
    input: Json | UnsetType = UNSET
    outputs: Outputs | UnsetType = UNSET
    version: Version | UnsetType = UNSET
    reuse: Literal["independent", "ancestors"] | UnsetType = UNSET


class BulkExecutions(Struct, kw_only=True, forbid_unknown_fields=True):
    """What `POST /executions/bulk` takes: either `ids`, or a `filter` with the fields of `GET /executions` (one at least).
    With `dry_run` it says which executions that would be."""

    action: Literal["cancel", "retry", "replay", "tag", "delete"]
    ids: Annotated[list[Uuid], Meta(min_length=1, max_length=MOST_IDS)] | UnsetType = UNSET
    filter: TextFilters | UnsetType = UNSET
    arguments: BulkArguments = field(default_factory=BulkArguments)
    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None


_TAKEN: Mapping[Action, frozenset[str]] = {
    Action.CANCEL: frozenset({"reason", "force"}),
    Action.RETRY: frozenset({"input", "outputs", "version"}),
    Action.REPLAY: frozenset({"from", "input", "outputs", "version", "reuse"}),
    Action.TAG: frozenset({"set", "remove"}),
    Action.DELETE: frozenset(),
}
"""Which arguments belong to an action."""
_NOTHING = msgspec.to_builtins(TextFilters())


def operation_request(call: Call[Any, Any], body: BulkExecutions) -> OperationRequest:
    """Raises InvalidRequest, InvalidIdentifier."""
    action = Action(body.action)
    arguments = msgspec.to_builtins(body.arguments)
    _check(action, body, arguments)
    key = given_key(call, body.idempotency_key)
    plan = _plan(body.arguments)
    told: dict[str, Any] = {"arguments": arguments, "filter": None}
    ids = None
    if body.filter is UNSET:
        ids = [id_bytes(text) for text in body.ids or ()]
    else:
        told["filter"] = given_conditions(body.filter)
        plan.is_chosen = True
        try:
            plan.filter = execution_filter(body.filter, call.services.clock.now())
            plan.texts = text_filter(body.filter)
        except (InvalidRequest, InvalidIdentifier) as error:
            raise _in_filter(error) from None
    plan.token = None if call.principal.token_id is None else call.principal.name
    plan.may_decide = call.principal.role.covers(Role.EDITOR)
    return OperationRequest(
        workspace=call.workspace,
        action=action,
        ids=ids,
        plan=plan,
        told=told,
        asked_by=call.principal.name,
        idempotency_key=key,
        request_hash=None if key is None else request_hash(body, b"bulk"),
    )


def given_conditions(filter: TextFilters) -> dict[str, Any]:
    """What a filter asks for, without what it leaves open."""
    return {name: value for name, value in msgspec.to_builtins(filter).items() if value != _NOTHING[name]}


def _check(action: Action, body: BulkExecutions, arguments: Mapping[str, Any]) -> None:
    problems = []
    if (body.ids is UNSET) is (body.filter is UNSET):
        detail = "name executions by ids, or choose them by a filter: one of both"
        problems.append(Problem("invalid_value", detail, ""))
    if body.filter is not UNSET and not given_conditions(body.filter):
        detail = "it has no condition, and would be all executions; if it is to be all, say created_before"
        problems.append(Problem("invalid_value", detail, "/filter"))
    for name in sorted(arguments.keys() - _TAKEN[action]):
        taken = f"{action} takes {', '.join(sorted(_TAKEN[action]))}" if _TAKEN[action] else f"{action} takes none"
        problems.append(Problem("unknown_field", f'"{name}" is no argument of it; {taken}', f"/arguments/{name}"))
    if action is Action.TAG and not (arguments.get("set") or arguments.get("remove")):
        problems.append(Problem("missing_field", "tag needs tags to set, or keys to remove", "/arguments"))
    if problems:
        raise invalid_request(problems)


def _plan(given: BulkArguments) -> Plan:
    plan = Plan()
    for name, value in (
        ("reason", given.reason), ("force", given.force), ("put", given.set), ("remove", given.remove),
        ("begin", given.begin), ("input", given.input), ("outputs", given.outputs), ("version", given.version),
        ("reach", UNSET if given.reuse is UNSET else Reach(given.reuse)),
    ):  # fmt: skip
        if value is not UNSET:
            setattr(plan, name, value)
    return plan


def _in_filter(error: InvalidRequest | InvalidIdentifier) -> InvalidRequest | InvalidIdentifier:
    """Its problems are named as parameters of a query; here they stand in the body."""
    problems = tuple(
        msgspec.structs.replace(one, parameter=None, pointer=f"/filter/{one.parameter}") for one in error.problems
    )
    return type(error)(invalid_request(problems).message, problems=problems)
