"""How results are printed."""

import json

import pytest

from lepton.model.v1 import model_pb2
from lepton_sdk.cli.output import Output, cell

PEOPLE, SCRIPTS = Output(json=False), Output(json=True)
MODELS = [
    model_pb2.Model(name="models/a", description="[b]a[/b] [/] :smile:"),
    model_pb2.Model(name="models/b"),
]
COLUMNS = {"NAME": lambda each: each.name, "DESCRIPTION": lambda each: each.description}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0, "0"),
        (1234567, "1,234,567"),
        (True, "True"),
        (0.123456, "0.1235"),
        (1e-9, "1e-09"),
        (float("nan"), "nan"),
        ("text", "text"),
    ],
    ids=repr,
)
def test_a_value_in_a_table(value: object, shown: str) -> None:
    assert cell(value) == shown


def test_a_list_is_a_line_each_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.resources(MODELS, COLUMNS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME      DESCRIPTION",
        "models/a  [b]a[/b] [/] :smile:",
        "models/b",
    ]


def test_a_long_line_is_not_folded_where_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.table(["NAME", "REASON"], [["a", "why " * 200]])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_numbers_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.table(["NAME", "BYTES"], [["a", 5], ["b", 12345]])
    assert capsys.readouterr().out.splitlines() == ["NAME   BYTES", "a          5", "b     12,345"]


def test_an_empty_list_is_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.resources([], COLUMNS)
    assert capsys.readouterr().out == "NAME  DESCRIPTION\n"


def test_a_list_is_one_json_array_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPTS.resources(MODELS, COLUMNS)
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == ["models/a", "models/b"]


def test_a_resource_is_yaml_for_people_and_json_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.resource(MODELS[1])
    assert capsys.readouterr().out == "name: models/b\n"
    SCRIPTS.resource(MODELS[1])
    assert json.loads(capsys.readouterr().out) == {"name": "models/b"}


def test_a_resource_is_described_for_people_alone(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.resource(MODELS[1], lambda: print("a model"))  # noqa: T201
    assert capsys.readouterr().out == "a model\n"
    SCRIPTS.resource(MODELS[1], lambda: print("a model"))  # noqa: T201
    assert json.loads(capsys.readouterr().out) == {"name": "models/b"}


def test_numbers_that_json_does_not_have_become_texts(capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPTS.document({"loss": [float("nan"), float("inf"), (-float("inf"), 0.5)]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "loss": ["NaN", "Infinity", ["-Infinity", 0.5]]
    }


def test_news_go_to_stderr_as_a_sentence_or_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    PEOPLE.news("waiting for trainer", {"waiting": "trainer"})
    SCRIPTS.news("waiting for trainer", {"waiting": "trainer"})
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == 'waiting for trainer\n{"waiting": "trainer"}\n'
