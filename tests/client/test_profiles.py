"""Flag beats environment beats file beats the local server beats the default."""

from pathlib import Path

import pytest

from perdure.client.errors import ProfileError
from perdure.client.profiles import DEFAULT_URL, resolve_target

CONFIG = """
profile = "prod"

[profiles.prod]
url = "https://prod.example.org"
token = "prod-token"
workspace = "reports"

[profiles.test]
url = "https://test.example.org"
token_file = "{token_file}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "perdure"
    folder.mkdir()
    token_file = tmp_path / "token"
    token_file.write_text("file-token\n")
    (folder / "config.toml").write_text(CONFIG.format(token_file=token_file))
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_nothing_said_is_the_default(tmp_path: Path) -> None:
    target = resolve_target({"XDG_CONFIG_HOME": str(tmp_path)})
    assert (target.url, target.token, target.workspace) == (DEFAULT_URL, None, None)


def test_a_server_that_runs_here_beats_the_default(tmp_path: Path) -> None:
    target = resolve_target({"HOME": str(tmp_path)}, local_url="http://127.0.0.1:9000")
    assert target.url == "http://127.0.0.1:9000"


def test_the_file_s_chosen_profile_counts(environ: dict[str, str]) -> None:
    target = resolve_target(environ, local_url="http://127.0.0.1:9000")
    assert (target.url, target.token, target.workspace) == ("https://prod.example.org", "prod-token", "reports")


def test_another_profile_by_flag_or_environment(environ: dict[str, str]) -> None:
    assert resolve_target(environ, profile="test").token == "file-token"
    assert resolve_target(environ | {"PERDURE_PROFILE": "test"}).url == "https://test.example.org"


def test_the_environment_beats_the_file_and_a_flag_beats_both(environ: dict[str, str]) -> None:
    environ |= {"PERDURE_URL": "http://env:1", "PERDURE_TOKEN": "env-token", "PERDURE_WORKSPACE": "env"}
    target = resolve_target(environ)
    assert (target.url, target.token, target.workspace) == ("http://env:1", "env-token", "env")
    target = resolve_target(environ, url="http://flag:1", token="flag-token", workspace="flag")
    assert (target.url, target.token, target.workspace) == ("http://flag:1", "flag-token", "flag")


def test_a_profile_s_token_is_never_sent_to_another_server(environ: dict[str, str]) -> None:
    assert resolve_target(environ, url="http://elsewhere:1").token is None
    assert resolve_target(environ | {"PERDURE_URL": "http://elsewhere:1"}).token is None


def test_a_token_from_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    assert resolve_target({"PERDURE_TOKEN_FILE": str(tmp_path / "token"), "HOME": "/nowhere"}).token == "file-token"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("profile = 'ghost'", "no profile 'ghost'"),
        ("profile = ", "config.toml"),
        ("[profiles.x]\nurk = 'http://x'", "urk"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "perdure").mkdir()
    (tmp_path / "perdure" / "config.toml").write_text(text)
    with pytest.raises(ProfileError, match=told):
        resolve_target({"XDG_CONFIG_HOME": str(tmp_path)})


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="PERDURE_TOKEN_FILE"):
        resolve_target({"HOME": str(tmp_path), "PERDURE_TOKEN_FILE": str(tmp_path / "gone")})
