"""`lepton token`: a token for a caller, its hash for the services."""

import hashlib
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lepton_common.auth import Credentials
from lepton_sdk.cli import command


def lepton(*words: str) -> Result:
    return CliRunner().invoke(command, [*words])


def make(path: Path, name: str = "ada", *more: str) -> Result:
    return lepton("token", name, "--role", "writer", "--file", str(path), *more)


def test_the_token_is_printed_and_the_services_know_its_caller(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    done = make(path)
    assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    assert Credentials(path).authenticate(f"Bearer {token}", ()).name == "ada"
    assert token not in path.read_text(), "the file keeps the hash alone"
    assert hashlib.sha256(token.encode()).hexdigest() in path.read_text()


def test_for_scripts_it_is_json(tmp_path: Path) -> None:
    done = lepton("-o", "json", "token", "ada", "--role", "reader", "--file", str(tmp_path / "t"))
    answer = json.loads(done.stdout)
    assert answer["name"] == "ada"
    assert Credentials(tmp_path / "t").authenticate(f"Bearer {answer['token']}", ())


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    make(tmp_path / "tokens.json")
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokens.json"], "no draft stays behind"


def test_what_its_owner_allowed_stays_allowed(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    make(path)
    path.chmod(0o640)
    assert make(path, "bob").exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_callers_that_were_there_stay(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    certificate = {"name": "trainer", "identity": "spiffe://lepton/trainer", "roles": ["admin"]}
    path.write_text(json.dumps({"certificates": [certificate]}))
    first = make(path).stdout.strip()
    make(path, "bob", "--role", "reader")
    credentials = Credentials(path)
    assert credentials.authenticate(f"Bearer {first}", ()).name == "ada"
    assert credentials.authenticate("", ["spiffe://lepton/trainer"]).name == "trainer"
    assert json.loads(path.read_text())["tokens"][1]["roles"] == ["writer", "reader"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    make(path)
    before = path.read_bytes()
    again = make(path)
    assert again.exit_code == 4
    assert "a token for 'ada'" in again.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "a" * 129], ids=["empty", "long"])
def test_a_name_that_services_refuse_is_wrong_usage(tmp_path: Path, name: str) -> None:
    assert make(tmp_path / "tokens.json", name).exit_code == 2
    assert not (tmp_path / "tokens.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff\xfe", id="binary"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"tokens": {}}', id="tokens are no list"),
        pytest.param(b'{"tokens": ["ada"]}', id="a token is a text"),
        pytest.param(b'{"tokens": [{"name": "ada"}]}', id="a token without hash"),
        pytest.param(b'{"passwords": []}', id="something else"),
    ],
)
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    done = make(path)
    assert done.exit_code == 4
    assert str(path) in done.stderr
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = make(tmp_path / "none" / "tokens.json")
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
