"""What the command says of itself, and how little it needs for that."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from lepton_sdk.cli import COMMANDS, command


def paths(group: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that can be typed."""
    found = [words]
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            child = group.get_command(context, name)
            assert child is not None
            found += paths(child, (*words, name))
    return found


EVERY = paths(command)


def at(words: tuple[str, ...]) -> click.Command:
    """The command of this path."""
    found: click.Command = command
    for word in words:
        assert isinstance(found, click.Group)
        child = found.get_command(click.Context(found), word)
        assert child is not None
        found = child
    return found


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_and_option_is_explained(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(command, [*words, "-h"])
    assert result.exit_code == 0
    for option in at(words).params:
        if isinstance(option, click.Option):
            assert option.help and option.help[-1] in ".]", f"{option.name} is not explained"


@pytest.mark.parametrize("words", EVERY[1:], ids=" ".join)
def test_every_command_is_told_in_one_short_sentence(words: tuple[str, ...]) -> None:
    short = at(words).get_short_help_str(limit=60)
    assert short.endswith(".")
    assert not short.endswith("..."), f"too long: {short}"


def test_the_list_of_commands_says_what_they_say_themselves() -> None:
    assert {name: at((name,)).get_short_help_str(limit=80) for name in COMMANDS} == COMMANDS


def test_the_first_help_loads_nothing_that_takes_time() -> None:
    program = (
        "import sys; from lepton_sdk.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & {
        "grpc",
        "google.protobuf",
        "numpy",
        "rich",
        "yaml",
        "matplotlib",
        "pydantic",
        "asyncio",
    }


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]], ids=" ".join)
def test_help_and_version_end_with_0(words: list[str]) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0
    assert done.stdout
