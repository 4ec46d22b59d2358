"""Tagging and deleting executions from the command line."""

from __future__ import annotations

import json

from tests.cli.conftest import Command


def test_tags_are_set_removed_and_listed_by(command: Command, failed: str) -> None:
    done = command("execution", "tag", failed, "case=4711", "owner=ada=lovelace", "-o", "json")
    assert (done.code, json.loads(done.out)["tags"]) == (0, {"case": "4711", "owner": "ada=lovelace"})
    assert command("execution", "list", "--tag", "case=4711", "-o", "name").lines == [failed]
    done = command("execution", "tag", failed, "--remove", "case", "--remove", "unheard")
    assert ("owner=ada=lovelace" in done.out, "4711" in done.out) == (True, False)
    assert command("execution", "list", "--tag", "case=4711", "-o", "name").lines == []


def test_a_tag_that_is_none_is_told(command: Command, failed: str) -> None:
    assert command("execution", "tag", failed).code == 2
    done = command("execution", "tag", failed, "case")
    assert (done.code, "write key=value" in done.err) == (2, True)


def test_what_has_ended_is_deleted_and_what_goes_on_is_not(command: Command, failed: str) -> None:
    waiting = command("execution", "start", "tests/repair", "-o", "name").out.strip()
    command("execution", "wait", waiting)
    done = command("execution", "delete", failed, "0193b1f2-0000-7000-8000-000000000000", waiting)
    assert (done.code, done.lines) == (1, [f"{failed}  deleted", f"{waiting}  deleted"])
    assert "0193b1f2" in done.err
    assert command("execution", "show", failed).code == 1
    asleep = command("execution", "start", "tests/outside", "-o", "name").out.strip()
    refused = command("execution", "delete", asleep)
    assert (refused.code, "has not ended" in refused.err) == (1, True)
    assert command("execution", "cancel", asleep, "--force", "--wait").code == 0
    assert command("execution", "delete", asleep).lines == [f"{asleep}  deleted"]
