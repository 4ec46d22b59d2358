"""Families of executions whose time is over: a root and all below it, in portions."""

from __future__ import annotations

from perdure.model.states import TERMINAL
from perdure.store.commands import ExpireExecutions
from perdure.store.procedures.context import Context, Standing
from perdure.store.procedures.delete import erase, families_of
from perdure.store.procedures.queueing import standings
from perdure.store.records import Expired
from perdure.store.statements import Procedure


def expire_executions(context: Context, command: ExpireExecutions) -> Procedure[Expired]:
    """What is below goes before what is above it: a family that is cut into portions never lacks a parent."""
    found = yield from standings(command.roots)
    ended = [found[root] for root in command.roots if root in found and found[root].status in TERMINAL]
    families = yield from families_of(ended)
    going: list[Standing] = []
    left: list[bytes] = []
    for root in ended:
        family = families[root.id]
        if any(one.status not in TERMINAL for one in family):
            continue
        if len(going) + len(family) > command.limit:
            left.append(root.id)
        going += family[::-1][: command.limit - len(going)]
    yield from erase(context, going)
    return Expired(len(going), left)
