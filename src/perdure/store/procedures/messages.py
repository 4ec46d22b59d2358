"""Messages from outside."""

from __future__ import annotations

from perdure.store.commands import SendMessages
from perdure.store.procedures.context import Context
from perdure.store.procedures.queueing import Letter, send
from perdure.store.statements import Procedure


def send_messages(context: Context, command: SendMessages) -> Procedure[None]:
    yield from send(context, [Letter(*message) for message in command.messages], command.at)
