"""One action on many executions: named one by one or chosen by a filter, weighed, asked for, followed to its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

import click

from perdure.base.ids import is_id
from perdure.cli.execution.filtering import filter_options
from perdure.cli.execution.naming import named_execution
from perdure.cli.exits import ERROR, INTERRUPTED, Exit
from perdure.cli.forms import is_interactive
from perdure.cli.output import age, note, one_line, print_one
from perdure.cli.standard_input import at_terminal
from perdure.cli.transfer import open_transfer
from perdure.client.client import AsyncClient
from perdure.client.errors import ExecutionNotFound
from perdure.client.filters import TextFilters
from perdure.model.operation import Action, is_refused
from perdure.model.states import ExecutionStatus
from perdure.wire.operations import MOST_IDS, BulkPlan, Operation, OperationItem

F = TypeVar("F", bound=Callable[..., Any])
SHOWN = 20
"""Refusals that are told one by one of what a filter chose."""
_DONE = {"cancel": str(ExecutionStatus.CANCELLING), "tag": "tagged", "delete": "deleted"}
_OPEN = frozenset({"collecting", "running"})


class Chosen(NamedTuple):
    """Which executions a command means, and how: `filters` are empty where they are named."""

    words: tuple[str, ...]
    filters: TextFilters
    dry_run: bool
    yes: bool
    detach: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The executions that are named; a word with an equals sign is something else."""
        return tuple(word for word in self.words if "=" not in word)

    @property
    def single(self) -> str | None:
        """The one execution that is named, where it is one."""
        return self.names[0] if len(self.names) == 1 and not self.filters else None


def many_options(function: F) -> F:
    """The options by which a command takes many executions; they arrive as one argument, `chosen`, together with its
    arguments, which it calls `execution_ids` or `words`."""

    @filter_options
    @click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
    @click.option("--yes", is_flag=True, help="Do not ask whether what the filter chooses is meant.")
    @click.option("--detach", is_flag=True, help="Of many: print the operation, and do not wait for its end.")
    @wraps(function)
    def command(*, filters: TextFilters, dry_run: bool, yes: bool, detach: bool, **given: Any) -> Any:
        words = given.pop("words", None) or given.pop("execution_ids", ())
        # Only runs of flows are meant where nothing is said: alone that is no choice.
        has_conditions = any(name != "kind" or value != "flow" for name, value in filters.items())
        chosen = Chosen(words, filters if has_conditions else {}, dry_run=dry_run, yes=yes, detach=detach)
        if bool(chosen.names) is has_conditions:
            raise click.UsageError(
                "name executions, or choose them by options such as --flow and --status: one of both"
            )
        if len(chosen.names) > MOST_IDS:
            raise click.UsageError(
                f"{len(chosen.names)} executions are named, at most {MOST_IDS} can be; choose by a filter"
            )
        return function(chosen=chosen, **given)

    decorated: Any = command
    found: F = decorated
    return found


async def act_on_many(
    client: AsyncClient, action: str, chosen: Chosen, *, arguments: Mapping[str, Any], output: str
) -> Operation | None:
    """Ask for it, follow it, and print what became of it; None where nothing was begun, or it is not waited for.

    The caller ends with `exit_as_done`. Raises Exit with some that could not be found.
    """
    ids: list[str] | None = None
    if not chosen.filters:
        ids = await _ids(client, chosen.names)
    asked: dict[str, Any] = {"ids": ids, "filter": chosen.filters or None, "arguments": arguments}
    if chosen.dry_run:
        plan = await client.operations.plan(action, **asked)
        print_one(plan, output, name=lambda one: "\n".join(one.sample), card=_plan_card)
        return None
    if ids is None and not chosen.yes and not await _is_meant(client, action, asked):
        return None
    operation = await client.operations.start(action, **asked)
    if chosen.detach:
        print_one(operation, output, name=lambda one: one.id, card=operation_card)
        note(f"follow it with: perdure operation show {operation.id} --wait")
        return None
    operation = await ask_and_wait(client, operation)
    await _print(client, operation, named=ids is not None, output=output)
    return operation


async def ask_and_wait(client: AsyncClient, operation: Operation) -> Operation:
    """Follow it to its end, with a bar on stderr. Raises Exit on Ctrl-C; it goes on all the same."""
    with open_transfer(sys.stderr) as bar:
        begun = False
        done = 0

        def show(one: Operation) -> None:
            nonlocal begun, done
            if one.status == "collecting":
                return
            if not begun:
                bar.begin("executions", one.total)
                begun = True
            now = one.succeeded + one.refused
            bar.advance(now - done, f"{one.refused:,} refused" if one.refused else "")
            done = now

        try:
            return await client.operations.wait(operation.id, on_progress=show)
        except asyncio.CancelledError:
            note(f"it goes on; follow it with: perdure operation show {operation.id} --wait")
            note(f"or stop it with: perdure operation cancel {operation.id}")
            raise Exit(INTERRUPTED) from None


def exit_as_done(operation: Operation | None) -> None:
    """Raises Exit unless all of it was done."""
    if operation is not None and (operation.status != "completed" or operation.refused):
        raise Exit(ERROR)


def operation_card(one: Operation) -> dict[str, str]:
    """An operation as `title: value` lines."""
    card = {
        "id": one.id,
        "action": one.action + (f" {one_line(one.arguments)}" if one.arguments else ""),
        "executions": "named by id" if one.filter is None else one_line(one.filter),
        "status": one.status,
        "total": f"{one.total:,}",
        "succeeded": f"{one.succeeded:,}",
        "refused": f"{one.refused:,}",
    }
    if one.status in _OPEN:
        card["left"] = f"{one.left:,}"
    if one.skipped:
        card["skipped"] = f"{one.skipped:,}"
    if one.error is not None:
        card["error"] = f"{one.error.code}: {one.error.detail}"
    return {**card, "asked": f"{age(one.created_at)} ago by {one.by}"}


async def _ids(client: AsyncClient, names: Sequence[str]) -> list[str]:
    """Numbers are looked up. Raises Exit when one is not there: then nothing is done at all."""
    found: list[str] = []
    missing: list[str] = []
    for name in names:
        if is_id(name):
            found.append(name)
            continue
        try:
            found.append((await named_execution(client, name)).id)
        except ExecutionNotFound:
            missing.append(name)
    if missing:
        note(f"error: there is no execution {', '.join(missing)}; nothing was done")
        raise Exit(ERROR)
    return found


async def _is_meant(client: AsyncClient, action: str, asked: Mapping[str, Any]) -> bool:
    """Ask at a terminal whether these are meant. Raises UsageError where nobody can be asked."""
    plan = await client.operations.plan(action, **asked)
    if plan.total == plan.refused and not plan.capped:
        note(f"nothing to {action}: {_statuses(plan, refused=True)}" if plan.total else "no execution fits")
        return False
    if not is_interactive():
        message = f"this would {action} {_amount(plan)}; say --yes, or look first with --dry-run"
        raise click.UsageError(message)
    try:
        return await at_terminal(partial(click.confirm, f"{action} {_amount(plan)}?", err=True))
    except asyncio.CancelledError:
        note("\nnothing was done")
        raise Exit(INTERRUPTED) from None


def _amount(plan: BulkPlan) -> str:
    """What would change, and what is meant and would not: `2 executions (2 running; not 40 completed; 1 not there)`."""
    changing = plan.total - plan.refused
    text = f"{'at least ' if plan.capped else ''}{changing:,} execution{'' if changing == 1 else 's'}"
    parts = [_statuses(plan, refused=False)] if changing else []
    if refused := _statuses(plan, refused=True):
        parts.append(f"not {refused}")
    if missing := 0 if plan.capped else plan.total - sum(plan.by_status.values()):
        parts.append(f"{missing:,} not there")
    return f"{text} ({'; '.join(parts)})" if parts else text


def _statuses(plan: BulkPlan, *, refused: bool) -> str:
    action = Action(plan.action)
    return ", ".join(
        f"{count:,} {status}"
        for status, count in plan.by_status.items()
        if is_refused(action, ExecutionStatus(status)) is refused
    )


def _plan_card(plan: BulkPlan) -> dict[str, str]:
    return {
        "action": plan.action,
        "executions": _amount(plan),
        "the first": "\n".join(plan.sample) or "–",
        "done": "nothing; this was a dry run",
    }


async def _print(client: AsyncClient, operation: Operation, *, named: bool, output: str) -> None:
    if output != "table":
        print_one(operation, output, name=lambda one: one.id, card=operation_card)
        return
    if not named:
        print_one(operation, output, name=lambda one: one.id, card=operation_card)
        async for item in client.operations.items(operation.id, outcome="refused", limit=SHOWN):
            _tell(item, operation.action)
        if operation.refused > SHOWN:
            note(f"… and {operation.refused - SHOWN:,} more: perdure operation items {operation.id} --outcome refused")
        return
    async for item in client.operations.items(operation.id):
        _tell(item, operation.action)


def _tell(item: OperationItem, action: str) -> None:
    if item.outcome == "refused":
        note(f"{item.execution}: {item.detail}")
    elif item.outcome == "succeeded":
        click.echo(f"{item.execution}  {_DONE.get(action) or item.replay}")
    else:
        click.echo(f"{item.execution}  {item.outcome}")
