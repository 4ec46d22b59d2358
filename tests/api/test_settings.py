"""Settings: flag before variable before file before default, and what is wrong is told with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.cli.failures import explain
from perdure.errors import InvalidSettings
from perdure.settings import ServerSettings, load_settings


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text('port = 1\nslots = 1\nhost = "::1"\nflows = ["a"]\n')
    environ = {"PERDURE_PORT": "2", "PERDURE_SLOTS": "2"}
    found = load_settings({"port": 3, "host": None}, environ, tmp_path)
    assert (found.port, found.slots, found.host, found.flows, found.log_level) == (3, 2, "::1", [Path("a")], "info")


def test_every_setting_has_its_variable(tmp_path: Path) -> None:
    environ = {
        "PERDURE_HOST": "::1", "PERDURE_PORT": "0", "PERDURE_HOME": "h", "PERDURE_STORE": "sqlite:s.db",
        "PERDURE_FLOWS": "a:b", "PERDURE_QUEUES": "x:y", "PERDURE_SLOTS": "7", "PERDURE_POOL_SIZE": "3",
        "PERDURE_WORKER_NAME": "w", "PERDURE_ALLOW_PRIVATE_ADDRESSES": "true", "PERDURE_GRACE": "1s",
        "PERDURE_CLEANUP_GRACE": "2s", "PERDURE_DRAIN": "1m", "PERDURE_STREAMS": "9", "PERDURE_STREAM_PING": "3s",
        "PERDURE_STREAM_STALL": "4s", "PERDURE_LOG_LEVEL": "debug", "PERDURE_LOG_FORMAT": "json",
        "PERDURE_ALLOW_PRIVATE_HOSTS": "db.internal:5432,10.0.0.0/8", "PERDURE_PASS_ENV": "AWS_REGION,EDITOR",
        "PERDURE_QUARANTINE_SIZE": "2", "PERDURE_RECYCLE_AFTER": "40s", "PERDURE_RECYCLE_PAUSE": "10m",
        "PERDURE_LEASE": "20s", "PERDURE_RETENTION": "10d,failed=forever", "PERDURE_ARTIFACTS": "shared", "PERDURE_NO_WORKER": "true", "PERDURE_TAGS": "gpu:big",
    }  # fmt: skip
    assert {name.removeprefix("PERDURE_").lower() for name in environ} == set(ServerSettings.__struct_fields__)
    found = load_settings({}, environ, tmp_path)
    unchanged = [
        name for name in ServerSettings.__struct_fields__ if getattr(found, name) == getattr(ServerSettings(), name)
    ]
    assert unchanged == []
    assert found.drain == 60_000_000
    assert found.allow_private_hosts == ["db.internal:5432", "10.0.0.0/8"]
    assert found.store_path() == Path("s.db")


def test_a_variable_may_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("sqlite:from-file.db\n")
    assert load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "store")}, tmp_path).store == "sqlite:from-file.db"
    with pytest.raises(InvalidSettings, match="PERDURE_STORE_FILE"):
        load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "none")}, tmp_path)
    with pytest.raises(InvalidSettings, match="both set"):
        load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "store"), "PERDURE_STORE": "x"}, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("PERDURE_PORT", "http", "a whole number from 0 to 65535"),
        ("PERDURE_PORT", "70000", "a whole number from 0 to 65535"),
        ("PERDURE_SLOTS", "0", "a whole number from 1 to 100000"),
        ("PERDURE_POOL_SIZE", "many", "a whole number from 1 to 1024"),
        ("PERDURE_DRAIN", "soon", "a duration of 0s or more, such as 500ms, 30s, 10m or 1h30m"),
        ("PERDURE_STREAM_PING", "10ms", "a duration of 1s or more, such as 500ms, 30s, 10m or 1h30m"),
        ("PERDURE_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("PERDURE_ALLOW_PRIVATE_ADDRESSES", "maybe", "true or false"),
    ],
)
def test_a_bad_value_is_told_once_with_its_variable_and_what_would_be_right(
    tmp_path: Path, variable: str, value: str, right: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings({}, {variable: value}, tmp_path)
    first, second = explain(caught.value).text.splitlines()
    assert first == f"error: the environment has settings that are not valid: {variable}"
    shown = value if value.isdigit() else f'"{value}"'
    assert second == f"  {variable}: invalid_setting: {shown} does not fit; give {right}"


def test_a_bad_value_is_told_with_its_flag_key_or_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"the command line .*: --pool-size"):
        load_settings({"pool_size": 0}, {}, tmp_path)
    (tmp_path / "port").write_text("x")
    with pytest.raises(InvalidSettings, match=r"the environment .*: PERDURE_PORT_FILE"):
        load_settings({}, {"PERDURE_PORT_FILE": str(tmp_path / "port")}, tmp_path)
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_settings({}, {"PERDURE_CONFIG": "none.toml"}, tmp_path)
    (tmp_path / "perdure.toml").write_text("flows = 3\nhost = 1979-05-27\nhome = true\n")
    with pytest.raises(
        InvalidSettings, match=r"perdure.toml has settings that are not valid: flows, host, home"
    ) as bad:
        load_settings({}, {}, tmp_path)
    assert [problem.detail for problem in bad.value.problems] == [
        "3 does not fit; give a list of texts",
        '"1979-05-27" does not fit; give a text',
        "true does not fit; give a path",
    ]


def test_all_problems_of_a_file_are_told_with_the_nearest_known_name(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text('prot = 1\nslots = "x"\n')
    with pytest.raises(InvalidSettings) as caught:
        load_settings({}, {}, tmp_path)
    prot, slots = caught.value.problems
    assert (prot.parameter, slots.parameter) == ("prot", "slots")
    assert "did you mean 'port'" in prot.detail
    (tmp_path / "perdure.toml").write_text("port = \n")
    with pytest.raises(InvalidSettings, match="no TOML"):
        load_settings({}, {}, tmp_path)


def test_a_store_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="oracle"):
        ServerSettings(store="oracle://x/y").store_path()


def test_rules_of_retention_may_be_a_text_or_a_table(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text('retention = {default = "20d", billing = {failed = "90d"}}\n')
    assert load_settings({}, {}, tmp_path).retention == "20d,billing/failed=90d"
    assert load_settings({"retention": "forever"}, {}, tmp_path).retention == "forever"
    with pytest.raises(InvalidSettings, match="--retention") as refused:
        load_settings({"retention": "30d,billing/running=1d"}, {}, tmp_path)
    assert "a duration, forever, or rules" in explain(refused.value).text
