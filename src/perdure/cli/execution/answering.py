"""`perdure execution waits | respond | approve | reject | signal | pause | resume`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import click
from msgspec import UNSET

from perdure.cli.execution.naming import execution_argument, named_execution
from perdure.cli.execution.reading import execution_card
from perdure.cli.exits import ERROR, Exit
from perdure.cli.forms import complained, fill_in, is_interactive
from perdure.cli.inputs import parse_inputs
from perdure.cli.output import format_option, note, one_line, print_list, print_one
from perdure.cli.session import server_command
from perdure.cli.standard_input import at_terminal
from perdure.cli.wait_list import WAIT_COLUMNS
from perdure.client.client import AsyncClient
from perdure.client.errors import InvalidAnswer
from perdure.client.execution import AsyncExecutionHandle
from perdure.wire.executions import Execution
from perdure.wire.waits import Answer, Wait

wait_option = click.option(
    "--wait", metavar="WAIT", help="Which of several: node, node[ordinal], as `waits` lists them."
)
comment_option = click.option("-m", "--comment", metavar="TEXT", help="A word to go with it.")


@click.command()
@execution_argument
@format_option
@server_command
async def waits(*, client: AsyncClient, execution_id: str, output: str) -> None:
    """List what EXECUTION waits for: approvals, questions, signals, timers, children, a pause."""
    handle = await named_execution(client, execution_id)
    found = await handle.waits()

    async def each() -> Any:
        for one in found:
            yield one

    await print_list(each(), WAIT_COLUMNS, output, name=lambda one: one.id, empty="it waits for nothing")


@click.command()
@execution_argument
@click.option("-i", "--input", "inputs", multiple=True, metavar="KEY=VALUE|KEY=@FILE|FILE|-",
              help="The answer: a value (JSON where it parses, else text), or all of it as JSON from a file.")  # fmt: skip
@wait_option
@comment_option
@format_option
@server_command
async def respond(
    *,
    client: AsyncClient,
    execution_id: str,
    inputs: tuple[str, ...],
    wait: str | None,
    comment: str | None,
    output: str,
) -> None:
    """Answer what EXECUTION asks; without -i the form's questions are asked one by one.

    \b
    perdure execution respond - -i city=Oslo -i days=2
    perdure execution respond 17 --wait 'ask[3]' -i answer.json
    """
    handle = await named_execution(client, execution_id)
    if inputs:
        _print_answer(await handle.respond(answer=parse_inputs(inputs), wait=wait, comment=comment), output)
        return
    asked = await _asked(handle, wait)
    if not is_interactive():
        raise click.UsageError("give the answer with -i KEY=VALUE, or -i FILE")
    if asked.message:
        note(asked.message)
    if asked.kind == "approval":
        approved = await at_terminal(partial(click.confirm, "Approve?", err=True))
        _print_answer(await handle.respond(approved=approved, wait=asked.id, comment=comment), output)
        return
    _print_answer(await _fill_in(handle, asked, comment), output)


@click.command()
@execution_argument
@wait_option
@comment_option
@format_option
@server_command
async def approve(
    *, client: AsyncClient, execution_id: str, wait: str | None, comment: str | None, output: str
) -> None:  # fmt: skip
    """Approve what EXECUTION waits for."""
    handle = await named_execution(client, execution_id)
    _print_answer(await handle.approve(wait=wait, comment=comment), output)


@click.command()
@execution_argument
@wait_option
@comment_option
@format_option
@server_command
async def reject(
    *, client: AsyncClient, execution_id: str, wait: str | None, comment: str | None, output: str
) -> None:  # fmt: skip
    """Reject what EXECUTION waits for, or refuse to answer what it asks."""
    handle = await named_execution(client, execution_id)
    _print_answer(await handle.reject(wait=wait, comment=comment), output)


@click.command()
@execution_argument
@click.argument("name")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="KEY=VALUE|KEY=@FILE|FILE|-",
    help="The payload, as a start's input.",
)
@format_option
@server_command
async def signal(*, client: AsyncClient, execution_id: str, name: str, inputs: tuple[str, ...], output: str) -> None:
    """Send EXECUTION the signal NAME; one that nothing waits for yet is kept."""
    handle = await named_execution(client, execution_id)
    sent = await handle.signal(name, parse_inputs(inputs) if inputs else None)
    taken = f"taken by {sent.wait}" if sent.wait else f"kept, as number {sent.buffered} of its name"
    print_one(sent, output, name=lambda one: one.execution, card=lambda one: {"signal": one.name, "became": taken})


@click.command()
@execution_argument
@click.option("--reason", metavar="TEXT", help="Why, for whoever looks.")
@format_option
@server_command
async def pause(*, client: AsyncClient, execution_id: str, reason: str | None, output: str) -> None:
    """Begin nothing new in EXECUTION; what runs goes on to its end, and its deadline still counts."""
    handle = await named_execution(client, execution_id)
    _print_execution(await handle.pause(reason=reason), output)
    note(f"go on with: perdure execution resume {handle.id}")


@click.command()
@execution_argument
@format_option
@server_command
async def resume(*, client: AsyncClient, execution_id: str, output: str) -> None:
    """Go on with EXECUTION, which is paused."""
    handle = await named_execution(client, execution_id)
    _print_execution(await handle.resume(), output)


async def _asked(handle: AsyncExecutionHandle, name: str | None) -> Wait:
    """The wait that is meant, where it is to be answered by hand."""
    open_ones = [one for one in await handle.waits() if one.kind in {"approval", "ask"} and not one.answered]
    fitting = [one for one in open_ones if name is None or name in {one.id, one.id.partition("@")[0], one.node}]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise click.UsageError(f"several are open; name one with --wait: {', '.join(one.id for one in fitting)}")
    note(f"execution {handle.id} waits for no answer; it is {handle.status}")
    raise Exit(ERROR)


async def _fill_in(handle: AsyncExecutionHandle, asked: Wait, comment: str | None) -> Answer:
    """Ask, send, and ask again for what the form refuses."""
    answer = await at_terminal(partial(fill_in, asked.form))
    while True:
        try:
            return await handle.respond(answer=answer, wait=asked.id, comment=comment)
        except InvalidAnswer as refused:
            fields = complained(asked.form, answer, refused.errors)
            if not fields:
                raise
            answer = await at_terminal(partial(fill_in, asked.form, answers=answer, again=fields))


def _print_answer(answer: Answer, output: str) -> None:
    print_one(answer, output, name=lambda one: one.wait, card=_card)


def _card(answer: Answer) -> Mapping[str, str]:
    lines = {"execution": answer.execution, "wait": answer.wait, "by": answer.by}
    lines["outcome"] = answer.outcome or f"noted; {answer.missing} more must approve"
    if answer.answer is not None and answer.answer is not UNSET:
        lines["answer"] = one_line(answer.answer)
    if answer.comment:
        lines["comment"] = answer.comment
    return lines


def _print_execution(execution: Execution, output: str) -> None:
    print_one(execution, output, name=lambda one: one.id, card=execution_card)
