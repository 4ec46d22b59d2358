"""Tokens: made on the local store while no server runs, through it while one does; the first one closes it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.served import serving


def test_a_token_s_life(offline: Command, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = offline("token", "create", "laptop")
    secret = made.out.strip()
    assert secret.startswith("perdure_")
    assert secret not in made.err
    with serving(nowhere):
        refused = offline("token", "list")
        assert refused.code == 4
        assert "PERDURE_TOKEN" in refused.err
        monkeypatch.setenv("PERDURE_TOKEN", secret)
        through = offline("token", "create", "ci", "--role", "operator", "--expires", "1h", "-o", "json")
        other = json.loads(through.out)
        assert (other["role"], other["secret"] != secret) == ("operator", True)
        assert offline("token", "list", "--token", other["secret"]).code == 4, "an operator makes no tokens"
        assert offline("token", "revoke", other["id"]).out.split() == [other["id"], "revoked"]
        listed = json.loads(offline("token", "list", "-o", "json").out)
        assert {(token["name"], token["revoked_at"] is None) for token in listed} == {("laptop", True), ("ci", False)}
    kept = offline("token", "list", "-o", "yaml")
    assert kept.code == 0
    assert "laptop" in kept.out
    assert secret not in kept.out


def test_what_is_no_token_is_told(offline: Command) -> None:
    done = offline("token", "revoke", "nothing")
    assert done.code == 1
    assert "perdure token list" in done.err
    assert "open to" in offline("token", "list").err
