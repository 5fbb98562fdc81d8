"""What `lepton demo` refuses."""

import pytest
from click.testing import CliRunner

from lepton_sdk.cli import command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--running", "--resume"), "--resume is for services of its own"),
        (("--clean",), "--name and --clean go with --running"),
        (("--name", "mine"), "--name and --clean go with --running"),
        (("--workers", "0"), "0 is not in the range"),
    ],
    ids=["running and resumed", "clean alone", "name alone", "no worker"],
)
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(command, ["demo", *words])
    assert done.exit_code == 2
    assert said in done.output


def test_without_services_it_ends_with_5(tmp_path: object) -> None:
    words = ["--endpoints", f"{tmp_path}/none.json", "demo", "--running", "--report", f"{tmp_path}/report"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 5
    assert "no services are known" in done.output
