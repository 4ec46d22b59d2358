"""Many executions at once from the command line."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from tests.cli.conftest import Command

MISSING = "0193b1f2-0000-7000-8000-000000000000"


@pytest.fixture
def case(command: Command) -> str:
    """A tag that three executions have: two that failed, one that goes on."""
    name = uuid4().hex[:12]
    for _ in range(2):
        assert command("execution", "start", "tests/repair", "--tag", f"case={name}", "--wait").code == 5
    assert command("execution", "start", "tests/outside", "--tag", f"case={name}").code == 0
    return f"case={name}"


def ids(command: Command, case: str, *options: str) -> list[str]:
    return command("execution", "list", "--tag", case, "-o", "name", *options).lines


def test_what_a_filter_chooses_is_weighed_and_asked_for_before_anything_is_done(command: Command, case: str) -> None:
    dry = command("execution", "delete", "--tag", case, "--dry-run", "-o", "json")
    plan = json.loads(dry.out)
    assert (dry.code, plan["total"], plan["refused"], plan["by_status"]["failed"]) == (0, 3, 1, 2)
    ending = command("execution", "cancel", "--tag", case, "--dry-run")
    assert re.search(r"^executions: +1 execution \(1 \w+; not 2 failed\)$", ending.out, re.MULTILINE)
    assert ending.out.count(ids(command, case)[0]) == 1
    assert not set(ids(command, case, "--status", "failed")) & set(ending.out.split()), "they have ended"
    gone = command("execution", "delete", *ids(command, case, "--status", "failed"), MISSING, "--dry-run")
    assert re.search(r"^executions: +2 executions \(2 failed; 1 not there\)$", gone.out, re.MULTILINE)
    over = command("execution", "cancel", "--tag", case, "--status", "failed")
    assert (over.code, over.err) == (0, "nothing to cancel: 2 failed\n")
    shown = command("execution", "retry", "--tag", case, "--status", "failed", "--dry-run")
    assert (shown.code, "2 executions (2 failed)" in shown.out, "dry run" in shown.out) == (0, True, True)
    unasked = command("execution", "delete", "--tag", case)
    assert (unasked.code, "--yes" in unasked.err, "2 executions (2 failed; not 1 " in unasked.err) == (2, True, True)
    assert len(ids(command, case)) == 3
    nothing = command("execution", "delete", "--tag", "case=none")
    assert (nothing.code, "no execution fits" in nothing.err) == (0, True)


def test_refusals_are_told_and_make_the_exit_code(command: Command, case: str) -> None:
    done = command("execution", "delete", "--tag", case, "--yes", "-o", "json")
    operation = json.loads(done.out)
    assert (done.code, operation["status"], operation["succeeded"], operation["refused"]) == (1, "completed", 2, 1)
    [going] = ids(command, case)
    items = command("operation", "items", operation["id"], "--outcome", "refused", "-o", "json")
    assert [(item["execution"], item["code"]) for item in json.loads(items.out)] == [(going, "execution_not_ended")]
    table = command("operation", "items", operation["id"])
    assert len(table.lines) == 4
    again = command("execution", "delete", "--tag", case, "--yes")
    assert (again.code, "refused" in again.out, f"{going}: " in again.err) == (1, True, True)
    stopped = command("execution", "cancel", "--tag", case, "--yes", "--force", "--wait")
    assert (stopped.code, "executions" in stopped.err) == (0, True)
    assert ids(command, case, "--status", "cancelled") == [going]


def test_several_are_named(command: Command, case: str) -> None:
    failed = ids(command, case, "--status", "failed")
    tagged = command("execution", "tag", *failed, "owner=ada")
    assert (tagged.code, tagged.lines) == (0, [f"{id}  tagged" for id in failed])
    assert ids(command, case, "--tag", "owner=ada") == failed
    retried = command("execution", "retry", *failed)
    assert retried.code == 0
    replays = [line.split()[1] for line in retried.lines]
    assert json.loads(command("execution", "show", replays[0], "-o", "json").out)["replay_of"] == failed[0]
    gone = command("execution", "delete", failed[0], MISSING, failed[1])
    assert (gone.code, gone.lines) == (1, [f"{failed[0]}  deleted", f"{failed[1]}  deleted"])
    assert MISSING in gone.err
    unheard = command("execution", "delete", replays[0], "99999999")
    assert (unheard.code, "nothing was done" in unheard.err) == (1, True)
    assert command("execution", "show", replays[0]).code == 0


def test_an_operation_goes_on_by_itself_and_is_looked_up(command: Command, case: str) -> None:
    begun = command("execution", "replay", "--tag", case, "--status", "failed", "--yes", "--detach", "-o", "name")
    id = begun.out.strip()
    assert (begun.code, f"perdure operation show {id} --wait" in begun.err) == (0, True)
    followed = command("operation", "show", id, "--wait", "-o", "json")
    assert (followed.code, json.loads(followed.out)["succeeded"]) == (0, 2)
    assert command("operation", "list", "--limit", "1", "-o", "name").lines == [id]
    assert command("operation", "show", "-", "-o", "name").lines == [id]
    over = command("operation", "list", "--status", "completed", "--action", "replay", "--after", "10m", "-o", "name")
    assert id in over.lines
    for other in (["--status", "running"], ["--action", "tag"], ["--before", "10m"]):
        assert id not in command("operation", "list", *other, "-o", "name").lines
    bogus = command("operation", "list", "--status", "done")
    assert (bogus.code, "'running'" in bogus.err) == (2, True)
    card = command("operation", "show", id)
    assert ("replay" in card.out, case.replace("=", ":") in card.out) == (True, True)
    over = command("operation", "cancel", id)
    assert (over.code, "is over" in over.err) == (1, True)
    assert command("operation", "show", MISSING).code == 1


def test_what_is_meant_has_to_be_said(command: Command, case: str) -> None:
    one = ids(command, case)[0]
    for wrong in (
        ["delete"],
        ["delete", one, "--tag", case],
        ["delete", "--kind", "flow"],
        ["tag", "--tag", case],
        ["retry", "--tag", case, "--wait"],
        ["replay", "--tag", case, "--yes", "-i", "a=1"],
    ):
        assert command("execution", *wrong).code == 2, wrong
    assert len(ids(command, case)) == 3
