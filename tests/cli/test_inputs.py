"""What people type becomes the data that they mean."""

import io
import json
from pathlib import Path

import click
import pytest

from perdure.cli.inputs import parse_edits, parse_inputs, parse_moment, parse_seconds, parse_tag_filters, parse_tags
from tests.client.clocks import FixedClock


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {}),
        (["n=1"], {"n": 1}),
        (["s=text with = sign"], {"s": "text with = sign"}),
        (["s="], {"s": ""}),
        (['s="1"'], {"s": "1"}),
        (['list=[1, "a"]', "flag=true", "nothing=null"], {"list": [1, "a"], "flag": True, "nothing": None}),
        (["a=1", "a=2"], {"a": 2}),
    ],
)
def test_pairs(given: list[str], expected: object) -> None:
    assert parse_inputs(given) == expected


def test_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "input.json"
    whole.write_text(json.dumps({"a": 1, "b": 2}))
    text = tmp_path / "page.txt"
    text.write_text("plain\ntext")
    assert parse_inputs([str(whole)]) == {"a": 1, "b": 2}
    assert parse_inputs([str(whole), "b=3", f"page=@{text}"]) == {"a": 1, "b": 3, "page": "plain\ntext"}
    assert parse_inputs([f"all=@{whole}"]) == {"all": {"a": 1, "b": 2}}
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 7}'))
    assert parse_inputs(["-"]) == {"a": 7}


@pytest.mark.parametrize(("given", "told"), [(["nofile.json"], "neither"), (["x=@nofile"], "'nofile' is no file")])
def test_what_is_not_there_is_named(given: list[str], told: str) -> None:
    with pytest.raises(click.BadParameter, match=told):
        parse_inputs(given)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text("{")
    with pytest.raises(click.BadParameter, match=r"bad\.json is not JSON"):
        parse_inputs([str(file)])


def test_edits_are_values_by_node_and_what_is_wrong_names_their_option(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[]")
    assert parse_edits(["n=1", f"page=@{tmp_path / 'page.json'}"]) == {"n": 1, "page": {"a": 1}}
    assert parse_edits(["n=1", str(tmp_path / "page.json")]) == {"n": 1, "a": 1}
    for given in ("x", "page=@nofile", str(tmp_path / "list.json")):
        with pytest.raises(click.BadParameter) as refused:
            parse_edits([given])
        assert refused.value.param_hint == "--edit"


def test_a_tag_is_looked_for_with_a_value_or_by_its_key_alone() -> None:
    assert parse_tag_filters(["team=web", "ticket", "empty="]) == {"team": "web", "ticket": None, "empty": ""}
    for given in ("", "=x"):
        with pytest.raises(click.BadParameter, match="key=value"):
            parse_tag_filters([given])


def test_tags() -> None:
    assert parse_tags(["team=web", "ticket="]) == {"team": "web", "ticket": ""}
    with pytest.raises(click.BadParameter, match="key=value"):
        parse_tags(["team"])


def test_moments() -> None:
    def at(text: str, **options: bool) -> str:
        return parse_moment(text, FixedClock(), option="--at", **options).isoformat()

    assert at("10m") == "2026-11-22T12:10:00+00:00"
    assert at("10m", ago=True) == "2026-11-22T11:50:00+00:00"
    assert at("2026-11-23T06:00:00Z") == "2026-11-23T06:00:00+00:00"
    with pytest.raises(click.BadParameter, match="neither a time"):
        at("tomorrow")


def test_seconds() -> None:
    assert parse_seconds("90", option="-t") == 90
    assert parse_seconds("1m30s", option="-t") == 90
    assert parse_seconds(None, option="-t") is None
    with pytest.raises(click.BadParameter, match="no duration"):
        parse_seconds("soon", option="-t")
