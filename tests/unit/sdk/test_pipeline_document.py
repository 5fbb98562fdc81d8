"""The form of a pipeline file: every slip is found before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from lepton_common.errors import InvalidField
from lepton_sdk import pipeline

RECIPES = Path(__file__).parents[3] / "recipes"
WHOLE = """
name: digits
dataset:
  sources: [{path: train.npz}, {path: test.npz, split: SPLIT_TEST}, more.npz]
  spec: {schema: {label: label}}
train: {cnn: {}, maxEpochs: 20}
compress: {maxAccuracyDrop: 0.005}
endpoint:
agent:
  id: cartpole
  spec: {environment: CartPole-v1, dqn: {}}
  learn: {simulation: {steps: 50000}}
"""


def test_a_whole_pipeline_is_read(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(WHOLE)
    read = pipeline.load(tmp_path / "pipeline.yaml")
    assert read.name == "digits"
    assert [*read.stages] == ["dataset", "train", "compress", "endpoint", "agent"]
    assert read.stages["endpoint"] == {}
    assert read.folder == tmp_path, "paths are relative to the file"


def test_paths_are_relative_to_the_file_wherever_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "pipeline.yaml").write_text("name: digits\n")
    monkeypatch.chdir(tmp_path / "here")
    assert pipeline.load(Path("../pipeline.yaml")).folder == tmp_path


def document(**stages: Any) -> dict[str, Any]:
    return {"name": "digits", **stages}


DATASET = {"sources": [{"path": "digits.npz"}]}
TRAIN: dict[str, Any] = {"mlp": {}}
SEARCH: dict[str, Any] = {
    "training": TRAIN,
    "parameters": [{"path": "batch_size", "integer": {"min": 16, "max": 64}}],
}
STORED = {"datasetVersion": "datasets/digits/versions/1"}


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param({}, id="no stage"),
        pytest.param({"dataset": DATASET}, id="data alone"),
        pytest.param({"train": TRAIN | {"datasetVersion": "datasets/digits/versions/1"}}, id="stored data"),
        pytest.param({"search": SEARCH | {"training": TRAIN | STORED}}, id="search in stored data"),
        pytest.param({"dataset": DATASET, "search": SEARCH, "compress": {}}, id="search, then compression"),
        pytest.param({"compress": {"modelVersion": "models/digits/versions/1"}}, id="stored model"),
        pytest.param({"endpoint": {"targets": {"models/digits/versions/1": 90}}}, id="stored target"),
        pytest.param(
            {"endpoint": {"follow": {"model": "models/digits", "latest": {"count": 2}}}}, id="followed model"
        ),
        pytest.param(
            {
                "endpoint": {
                    "targets": {"models/digits/versions/1": 90},
                    "batching": {"maxBatchSize": 64},
                    "execution": {"instances": 2, "provider": "PROVIDER_CPU"},
                    "responseCacheBytes": 1000,
                    "pool": "large",
                }
            },
            id="target with settings",
        ),
        pytest.param({"agent": {"spec": {"qLearning": {}}, "learn": {"loggedFeedback": {}}}}, id="agent"),
        pytest.param({"dataset": {"sources": ["a.csv"], "spec": None}}, id="a key without value"),
    ],
)
def test_any_part_can_stand_alone(stages: dict[str, Any]) -> None:
    assert [*pipeline.parse(document(**stages), Path()).stages] == [*stages]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        pytest.param(None, "mapping", id="nothing"),
        pytest.param(["name"], "mapping", id="list"),
        pytest.param("digits", "mapping", id="text"),
        pytest.param({}, "`name`", id="no name"),
        pytest.param({"name": 5}, "`name`", id="name is a number"),
        pytest.param({"name": "Digits"}, "`name`", id="capital letter"),
        pytest.param({"name": "../etc"}, "`name`", id="path as name"),
        pytest.param({"name": "digits-"}, "`name`", id="dash last"),
        pytest.param({"name": "d" * 43}, "`name`", id="long name"),
        pytest.param(document(trian=TRAIN), "unknown stage 'trian'", id="unknown stage"),
        pytest.param({"name": "digits", 5: {}, "x": {}}, "unknown stage '5'", id="stage is a number"),
        pytest.param(document(dataset="digits.npz"), "`dataset` must be a mapping", id="stage is a text"),
        pytest.param(document(endpoint=[]), "`endpoint` must be a mapping", id="stage is a list"),
        pytest.param(document(train=TRAIN), "needs a stage `dataset`", id="training without data"),
        pytest.param(document(search=SEARCH), "needs a stage `dataset`", id="search without data"),
        pytest.param(
            document(search={"training": None}), "needs a stage `dataset`", id="search for nothing in nothing"
        ),
        pytest.param(
            document(dataset=DATASET, train=TRAIN, search=SEARCH), "leave one of them out", id="two models"
        ),
        pytest.param(
            document(dataset=DATASET, search={"trails": 3}), "search: .*trails", id="slip in search"
        ),
        pytest.param(
            document(compress={}), "needs a stage `train` or `search`", id="compression without model"
        ),
        pytest.param(document(endpoint={}), "needs a stage `compress`", id="endpoint without model"),
        pytest.param(
            document(dataset=DATASET, train=TRAIN, endpoint={}),
            "needs a stage `compress`, or its own `targets` or `follow`",
            id="endpoint of what is not ONNX",
        ),
        pytest.param(
            document(dataset={"source": []}), "has no 'source'; it has id, sources", id="slip in key"
        ),
        pytest.param(document(dataset={"sources": "a.csv"}), "must be a list", id="sources is a text"),
        pytest.param(document(dataset={"sources": [{}]}), r"sources\[0\] must name a `path`", id="no path"),
        pytest.param(
            document(dataset={"sources": ["a", 5]}), r"sources\[1\] must name", id="path is a number"
        ),
        pytest.param(document(dataset={"sources": [""]}), r"sources\[0\] must name", id="empty path"),
        pytest.param(
            document(dataset={"sources": [{"path": "a", "splt": "x"}]}),
            r"sources\[0\].*splt",
            id="slip in source",
        ),
        pytest.param(
            document(dataset=DATASET | {"spec": {"lable": "x"}}), "dataset.spec.*lable", id="slip in spec"
        ),
        pytest.param(
            document(dataset=DATASET | {"spec": 5}), "dataset.spec must be a mapping", id="spec a number"
        ),
        pytest.param(
            document(dataset=DATASET, train={"cnn": {}, "epochs": 3}),
            "train: .*epochs",
            id="slip in training",
        ),
        pytest.param(
            document(dataset=DATASET, train={"cnn": {}, "mlp": {}}), "train: ", id="two architectures"
        ),
        pytest.param(
            document(dataset=DATASET, train=TRAIN, compress={"drop": 1}),
            "compress: .*drop",
            id="slip in compress",
        ),
        pytest.param(
            document(endpoint={"targets": ["a"]}), "endpoint.targets must map", id="targets is a list"
        ),
        pytest.param(document(endpoint={"targets": {"a": "x"}}), "whole numbers", id="weight is a text"),
        pytest.param(
            document(endpoint={"targets": {"a": 1}, "follow": {"model": "models/a", "all": {}}}),
            "`targets` or `follow`, and not both",
            id="targets beside a model to follow",
        ),
        pytest.param(
            document(endpoint={"follow": {"model": "models/a", "newest": {}}}),
            "endpoint: .*newest",
            id="slip in endpoint",
        ),
        pytest.param(document(endpoint={"targets": {"a": True}}), "whole numbers", id="weight is a truth"),
        pytest.param(document(agent={"learn": {"steps": 5}}), "agent.learn: .*steps", id="slip in learning"),
        pytest.param(document(agent={"spec": {"dqnn": {}}}), "agent.spec: .*dqnn", id="slip in agent"),
    ],
)
def test_a_slip_is_told_with_its_place(wrong: Any, told: str) -> None:
    with pytest.raises(InvalidField, match=told):
        pipeline.parse(wrong, Path())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"name: [", "is not YAML", id="cut off"),
        pytest.param(b"\x00\x01\x02\xff", "is not YAML", id="binary"),
        pytest.param(b"[" * 600, "is not YAML", id="nested without end"),
        pytest.param(b"name: !!python/name:os.system", "is not YAML", id="code"),
        pytest.param(b"? [a]\n: b", "is not YAML", id="a list as key"),
        pytest.param(b"", "a pipeline is a mapping", id="empty"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidField, match=told):
        pipeline.load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="No such file"):
        pipeline.load(tmp_path / "pipeline.yaml")
    with pytest.raises(InvalidField, match="Is a directory"):
        pipeline.load(tmp_path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_a_pipeline_of_its_name(path: Path) -> None:
    recipe = pipeline.load(path)
    assert recipe.name == path.stem
    assert list(recipe.stages) == ["dataset", "train", "compress", "endpoint"]
