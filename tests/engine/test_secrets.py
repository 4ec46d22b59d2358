"""A secret is found however it is spelt, and what hides it leaves sound data."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.base.codec import decode, encode, encode_text
from perdure.engine.secrets import Masker, read_secrets
from perdure.errors import InvalidSettings
from perdure.model.event import Event
from perdure.model.failure import Failure

_UNSTARRED = st.text(st.characters(exclude_characters="*", codec="utf-8"), min_size=4)
SECRET = 'pä"ss\\wört/ 1\n-----SECOND LINE-----'


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        json.dumps(SECRET),
        encode_text(SECRET),
        quote(SECRET, safe=""),
        b64encode(SECRET.encode()).decode(),
        "-----SECOND LINE-----",
    ],
    ids=["plain", "ascii JSON", "JSON", "URL", "base64", "one of its lines"],
)
def test_a_secret_is_found_however_it_is_spelt(spelt: str) -> None:
    masker = Masker({"it": SECRET})
    failure = masker.failure(Failure(code="no", message=f"<{spelt}>", stack=spelt, details={spelt: [spelt]}))
    (event,) = masker.events([Event("log", 1, "a", 0, 1, {"level": "info", "message": f"<{spelt}>"})])
    returned = {"x": [f"<{spelt}>"]}
    assert masker.names_in(encode(returned)) == ["it"]
    shown = encode_text([failure, event, masker.value(returned), decode(masker.input(returned))])
    assert "***" in shown
    assert "SECOND" not in shown
    assert "wört" not in shown
    assert encode_text(spelt)[1:-1] not in shown


@given(
    secret=st.one_of(st.sampled_from(["message", "code", "null", "1732", "true", "data"]), _UNSTARRED),
    at=st.integers(min_value=17_320_000_000_000, max_value=17_329_999_999_999),
    text=st.text(),
    number=st.integers(min_value=-(2**53), max_value=2**53),
)
def test_what_is_masked_is_still_what_it_was(secret: str, at: int, text: str, number: int) -> None:
    masker = Masker({"it": secret})
    data = {"level": "info", "message": f"{text}{secret}", "number": number, "null": None}
    (event,) = masker.events([Event("log", at, "message", 0, 1, data)])
    assert (event.type, event.at, event.node) == ("log", at, "message")
    assert event.data is not None
    assert event.data["number"] == number
    assert secret not in event.data["message"]
    failure = masker.failure(Failure(code="code", message=secret, node="message"))
    assert (failure.code, failure.node) == ("code", "message")
    assert secret not in failure.message
    assert isinstance(decode(masker.input({secret: [number, secret]})), dict)


def test_short_secrets_are_masked_in_texts_but_not_in_outputs_and_the_shortest_nowhere() -> None:
    masker = Masker({"pin": "prod12", "tiny": "abc"})
    assert masker.failure(Failure(code="no", message="prod12 abc")).message == "*** abc"
    assert masker.names_in(b'"prod12"') == []


def test_secrets_are_read_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("grün\n")
    environment = {"PERDURE_SECRET_A": "x", "PERDURE_SECRET_MAIL_FILE": str(tmp_path / "mail"), "HOME": "/"}
    assert read_secrets(environment) == {"a": "x", "mail": "grün"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"PERDURE_SECRET_A_FILE": "{folder}/none"}, "of PERDURE_SECRET_A_FILE cannot be read: No such file"),
        ({"PERDURE_SECRET_A_FILE": "{folder}/bytes"}, "of PERDURE_SECRET_A_FILE is no UTF-8"),
        ({"PERDURE_SECRET_A": os.fsdecode(b"\xff")}, "the value of PERDURE_SECRET_A is no UTF-8"),
        ({"PERDURE_SECRET_A": "x", "PERDURE_SECRET_A_FILE": "{folder}/text"}, "are both set"),
    ],
)
def test_a_secret_that_cannot_be_read_is_named(environment: dict[str, str], told: str, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "text").write_text("x")
    with pytest.raises(InvalidSettings, match=told):
        read_secrets({name: value.format(folder=tmp_path) for name, value in environment.items()})
