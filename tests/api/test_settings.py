"""Settings: flag before variable before file before default, and what is wrong is told with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    }  # fmt: skip
    assert {name.removeprefix("PERDURE_").lower() for name in environ} == set(ServerSettings.__struct_fields__)
    found = load_settings({}, environ, tmp_path)
    unchanged = [
        name for name in ServerSettings.__struct_fields__ if getattr(found, name) == getattr(ServerSettings(), name)
    ]
    assert unchanged == []
    assert found.drain == 60_000_000
    assert found.store_path() == Path("s.db")


def test_a_variable_may_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("sqlite:from-file.db\n")
    assert load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "store")}, tmp_path).store == "sqlite:from-file.db"
    with pytest.raises(InvalidSettings, match="PERDURE_STORE_FILE"):
        load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "none")}, tmp_path)
    with pytest.raises(InvalidSettings, match="both set"):
        load_settings({}, {"PERDURE_STORE_FILE": str(tmp_path / "store"), "PERDURE_STORE": "x"}, tmp_path)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PERDURE_PORT": "http"}, "port"),
        ({"PERDURE_PORT": "70000"}, "65535"),
        ({"PERDURE_SLOTS": "0"}, ">= 1"),
        ({"PERDURE_DRAIN": "soon"}, "no duration"),
        ({"PERDURE_LOG_LEVEL": "loud"}, "loud"),
        ({"PERDURE_ALLOW_PRIVATE_ADDRESSES": "maybe"}, "allow_private_addresses"),
        ({"PERDURE_CONFIG": "none.toml"}, "cannot be read"),
    ],
)
def test_a_bad_value_is_told_with_its_source(tmp_path: Path, environ: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidSettings, match=told):
        load_settings({}, environ, tmp_path)


def test_all_problems_of_a_file_are_told_with_the_nearest_known_name(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text('prot = 1\nslots = "x"\n')
    with pytest.raises(InvalidSettings, match='did you mean "port"') as caught:
        load_settings({}, {}, tmp_path)
    assert {problem.pointer for problem in caught.value.problems} == {"/prot", "/slots"}
    (tmp_path / "perdure.toml").write_text("port = \n")
    with pytest.raises(InvalidSettings, match="no TOML"):
        load_settings({}, {}, tmp_path)


def test_a_store_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="oracle"):
        ServerSettings(store="oracle://x/y").store_path()
