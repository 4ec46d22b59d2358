"""Whoever sits at the terminal is asked what an execution in the foreground waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import click

from perdure.cli.foreground import Foreground
from perdure.cli.forms import complained, fill_in, is_interactive
from perdure.cli.live import View
from perdure.cli.output import note
from perdure.cli.standard_input import at_terminal
from perdure.errors import InvalidAnswer, PerdureError
from perdure.model.answer import APPROVAL
from perdure.wire.waits import Wait


@asynccontextmanager
async def asking(foreground: Foreground, view: View) -> AsyncIterator[Callable[[], None]]:
    """What it gives is to be called when there may be something to ask; nobody is asked where nobody sits."""
    if not is_interactive():
        yield lambda: None
        return
    asker = Asker(foreground, view)
    task = asyncio.create_task(asker.run())
    try:
        yield asker.woken.set
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Asker:
    """Asks one question after the other, each once; the flow goes on meanwhile where it can."""

    def __init__(self, foreground: Foreground, view: View) -> None:
        self.woken = asyncio.Event()
        self._foreground = foreground
        self._view = view
        self._asked: set[str] = set()

    async def run(self) -> None:
        """Returns when nobody wants to be asked any more (Ctrl-D)."""
        while True:
            await self.woken.wait()
            self.woken.clear()
            try:
                while (wait := await self._next()) is not None:
                    self._asked.add(wait.id)
                    await self._ask(wait)
            except click.Abort:
                note("\nNot answered; the flow goes on waiting. Ctrl-C stops here, and the same command asks again.")
                return

    async def _next(self) -> Wait | None:
        return next((wait for wait in await self._foreground.questions() if wait.id not in self._asked), None)

    async def _ask(self, wait: Wait) -> None:
        self._view.pause()
        note(f"\n{wait.id}: {wait.message or 'waits for an answer'}")
        try:
            if wait.kind == APPROVAL:
                approved = await at_terminal(partial(click.confirm, "Approve?", err=True))
                await self._foreground.respond(wait.id, approved=approved)
            else:
                await self._fill_in(wait)
        except PerdureError as error:
            note(f"{wait.id}: {error.message}")
        finally:
            self._view.resume()

    async def _fill_in(self, wait: Wait) -> None:
        """Ask, and ask again for what the form refuses."""
        answer = await at_terminal(partial(fill_in, wait.form))
        while True:
            try:
                return await self._foreground.respond(wait.id, answer=answer)
            except InvalidAnswer as refused:
                fields = complained(wait.form, answer, refused.problems)
                if not fields:
                    raise
                answer = await at_terminal(partial(fill_in, wait.form, answers=answer, again=fields))
