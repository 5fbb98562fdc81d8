"""Names and values as they are typed."""

from pathlib import Path
from typing import Any

import pytest

from lepton.training.v1 import training_pb2
from lepton_common.errors import InvalidField
from lepton_sdk.cli.arguments import full_name, read_json, read_message, version_name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digits", "models/digits/versions/latest"),
        ("digits@3", "models/digits/versions/3"),
        ("digits/3", "models/digits/versions/3"),
        ("digits@latest", "models/digits/versions/latest"),
        ("models/digits", "models/digits/versions/latest"),
        ("models/digits@3", "models/digits/versions/3"),
        ("digits/versions/3", "models/digits/versions/3"),
        ("models/digits/versions/3", "models/digits/versions/3"),
        # Nobody's name; the service says what a name is.
        ("../etc", "models/../versions/etc"),
        ("", "models//versions/latest"),
    ],
)
def test_a_version_is_named_in_short_or_in_full(typed: str, meant: str) -> None:
    assert version_name("models", typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"), [("digits", "datasets/digits"), ("datasets/digits", "datasets/digits")]
)
def test_a_resource_is_named_in_short_or_in_full(typed: str, meant: str) -> None:
    assert full_name("datasets", typed) == meant


def test_a_message_is_json_or_a_file_of_json_or_yaml(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("mlp:\n  hiddenUnits: [32, 16]\nmaxEpochs: 5\n")
    (tmp_path / "spec.json").write_text('{"mlp": {"hiddenUnits": [32, 16]}, "maxEpochs": 5}')
    wanted = training_pb2.TrainingSpec(mlp=training_pb2.Mlp(hidden_units=[32, 16]), max_epochs=5)
    for text in (
        (tmp_path / "spec.json").read_text(),
        f"@{tmp_path / 'spec.yaml'}",
        f"@{tmp_path / 'spec.json'}",
    ):
        assert read_message(text, training_pb2.TrainingSpec(), "--spec") == wanted


def test_without_a_text_the_message_stays_as_it_is() -> None:
    before = training_pb2.TrainingSpec(max_epochs=5)
    assert read_message("", before, "--spec") == training_pb2.TrainingSpec(max_epochs=5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("{", "--spec", id="cut off"),
        pytest.param("hello", "must be a JSON object", id="a word"),
        pytest.param("[1, 2]", "must be a JSON object", id="a list"),
        pytest.param("null", "must be a JSON object", id="null"),
        pytest.param('{"maxEpoch": 5}', "maxEpoch", id="unknown field"),
        pytest.param('{"maxEpochs": "many"}', "maxEpochs", id="wrong type"),
        pytest.param('{"mlp": {}, "cnn": {}}', "architecture", id="two of one kind"),
        pytest.param("@/no/such/file", "No such file", id="no file"),
        pytest.param("@/", "Is a directory", id="a folder"),
        pytest.param("[" * 600, "--spec", id="nested without end"),
        pytest.param("!!python/object/apply:os.system ['true']", "--spec", id="code"),
    ],
)
def test_what_is_no_such_message_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidField, match=told):
        read_message(text, training_pb2.TrainingSpec(), "--spec")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidField, match="--spec"):
        read_message(f"@{tmp_path / 'spec'}", training_pb2.TrainingSpec(), "--spec")


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("[0.5, -1]", [0.5, -1])])
def test_json_is_read(text: str, value: Any) -> None:
    assert read_json(text, "the observation") == value


@pytest.mark.parametrize("text", ["", "[1,", "left", "[" * 100_000], ids=["empty", "cut off", "word", "deep"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="the observation is not JSON"):
        read_json(text, "the observation")
