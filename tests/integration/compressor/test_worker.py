"""The work of a compression job, on models that were really trained: what is chosen is right and smaller."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray

from lepton.compression.v1.compression_pb2 import Candidate
from lepton_common.errors import ChecksumMismatch, InvalidModel, LeptonError, SchemaViolation, UnsafeModel
from lepton_common.jobs import files
from lepton_common.jobs.launcher import RESTART_EXIT_CODE
from lepton_common.jobs.worker import Worker
from lepton_common.manifests import Blob, get_blob
from lepton_common.objects import ObjectStore
from lepton_compressor.worker.compression import compress
from lepton_learn.manifest import Split
from lepton_learn.recipe import Cnn, Mlp, ResNet, TwoTower, WideAndDeep
from lepton_learn.schema import PREDICTION, PROBABILITIES, Transform

from .sources import Source, customers, diabetes, digits, houses, train_source

pytestmark = [
    # Importing TensorFlow takes ten seconds of a core, and a machine may be busy with other tests.
    pytest.mark.timeout(300),
    # Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    # The converter says which weights are too small for float16.
    pytest.mark.filterwarnings("ignore:the float32 number .* will be truncated"),
]

JOB = "compressionJobs/small/0f8e"
MAX_DROP = 0.01
TRAINED: dict[str, Callable[[ObjectStore], Source]] = {
    "images": lambda objects: train_source(objects, digits(), Cnn(filters=(8, 16), dense_units=64), epochs=8),
    "images, residual": lambda objects: train_source(objects, digits(), ResNet(depth=8, filters=8), epochs=4),
    "texts and integers": lambda objects: train_source(
        objects, customers(), Mlp(hidden_units=(64, 64)), epochs=4
    ),
    "crossed texts": lambda objects: train_source(
        objects, customers(), WideAndDeep(crosses=(("city", "plan"), ("city", "children"))), epochs=4
    ),
    "recommendations": lambda objects: train_source(objects, customers(), TwoTower(), epochs=4),
    "a quantity": lambda objects: train_source(objects, diabetes(), Mlp(hidden_units=(64, 64)), epochs=10),
    "a large quantity": lambda objects: train_source(
        objects, houses(area=Transform.STANDARDIZE), Mlp(hidden_units=(64, 64)), epochs=10
    ),
}


def work(
    source: Source, folder: Path, *, stop: bool = False, **spec: Any
) -> tuple[int, files.Outcome | None]:
    """Run a worker on a source; return its exit code and what the job's controller reads of it."""
    asked = {
        "precisions": ["PRECISION_FP16", "PRECISION_INT8"],
        "calibration_records": 256,
        "max_accuracy_drop": MAX_DROP,
        **spec,
    }
    document = {"spec": asked, "source": {"files": list(source.files)}, "manifest": source.save_manifest()}
    files.write_spec(source.objects, JOB, document)
    source.objects.delete_prefix(f"{files.prefix(JOB)}/attempts")
    worker = Worker(
        {
            "LEPTON_JOB": JOB,
            "LEPTON_ATTEMPT": "1",
            "LEPTON_OBJECT_STORE_URL": source.objects.url,
            "LEPTON_WORKERS": "1",
            "LEPTON_WORKER_INDEX": "0",
            "LEPTON_RUN_DIRECTORY": str(folder),
        }
    )
    worker.stop_requested = stop
    code = worker.run(compress)
    return code, files.read_outcome(source.objects, JOB, 1)


@dataclass(frozen=True)
class Compressed:
    """A source, and what came of it."""

    source: Source
    output: Mapping[str, Any]

    @property
    def candidates(self) -> dict[str, Candidate]:
        """The candidates as the service reads them."""
        messages = [ParseDict(dict(each), Candidate()) for each in self.output["candidates"]]
        return {message.name: message for message in messages}

    @property
    def chosen(self) -> Candidate:
        (chosen,) = (each for each in self.candidates.values() if each.selected)
        return chosen

    def file(self, path: str) -> bytes:
        """A file of the new version, checked against its digest."""
        (file,) = (each for each in self.output["files"] if each["path"] == path)
        return get_blob(self.source.objects, Blob(file["key"], file["sha256"], file["size_bytes"]))

    def ask(self, records: int | None = None) -> NDArray[np.float32]:
        """What the stored model says to raw test records."""
        session = onnxruntime.InferenceSession(self.file("model.onnx"), providers=["CPUExecutionProvider"])
        feed = {
            column.name: self.source.test[column.name][:records].reshape(-1, *(column.shape or (1,)))
            for column in self.source.manifest.schema.features
        }
        answers: NDArray[np.float32] = session.run(None, feed)[0]
        return answers


def compressed(source: Source, folder: Path, **spec: Any) -> Compressed:
    """Compress, and expect that it works."""
    code, outcome = work(source, folder, **spec)
    assert (code, outcome and outcome.error) == (0, None)
    assert outcome is not None
    assert outcome.output is not None
    return Compressed(source, outcome.output)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """An object store in a folder."""
    return ObjectStore(f"file://{tmp_path_factory.mktemp('objects')}")


@pytest.fixture(scope="module", params=list(TRAINED))
def result(
    request: pytest.FixtureRequest, objects: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Compressed:
    """A trained model of each kind, compressed with every precision."""
    return compressed(TRAINED[request.param](objects), tmp_path_factory.mktemp("scratch"))


def test_the_plain_export_answers_as_keras_does(result: Compressed) -> None:
    plain = next(iter(result.candidates.values()))
    assert plain.name == "fp32"
    largest = max(1.0, float(np.abs(result.ask()).max()))
    assert plain.max_difference <= 1e-4 * largest


def test_one_is_chosen_within_the_drop_and_every_other_says_why_not(result: Compressed) -> None:
    candidates = result.candidates
    assert list(candidates) == ["fp32", "fp16", "int8"]
    assert result.chosen.score >= candidates["fp32"].score - MAX_DROP - 1e-9
    for candidate in candidates.values():
        assert candidate.selected == (not candidate.rejection)
        # None failed: graphs with texts and integers in them are built and run as well.
        assert candidate.size_bytes > 0
        assert candidate.latency_ms > 0
        assert candidate.batch_latency_ms > 0
        assert candidate.provider == "CPUExecutionProvider"


def test_sixteen_bits_save_space_and_lose_nothing(result: Compressed) -> None:
    plain, half = result.candidates["fp32"], result.candidates["fp16"]
    assert half.size_bytes < 0.75 * plain.size_bytes
    assert half.score == pytest.approx(plain.score, abs=0.006)


def test_eight_bits_are_nearly_as_right(result: Compressed) -> None:
    plain, eighth = result.candidates["fp32"], result.candidates["int8"]
    assert eighth.size_bytes < 0.9 * plain.size_bytes
    assert eighth.score == pytest.approx(plain.score, abs=0.03)


def test_the_score_is_that_of_the_stored_model_on_raw_records(result: Compressed) -> None:
    schema, transform = result.source.manifest.schema, result.source.manifest.transform
    answers, truth = result.ask(), result.source.test[schema.label]
    if transform.classes:
        told = np.array(transform.classes)[answers.argmax(axis=1)]
        score, name = float((told == truth.astype(str)).mean()), "accuracy"
    else:
        errors = (answers[:, 0] - truth).astype(np.float64)
        score, name = -float((errors**2).mean() / truth.var(dtype=np.float64)), "negative_relative_error"
    assert result.chosen.metric == name
    assert result.chosen.score == pytest.approx(score, abs=1e-6)
    assert result.output["metrics"] == {
        name: result.chosen.score,
        "latency_ms": result.chosen.latency_ms,
    }


def test_the_models_have_learned_something(result: Compressed) -> None:
    least = {"accuracy": 0.85, "negative_relative_error": -0.6}
    assert result.chosen.score > least[result.chosen.metric]


def test_the_new_version_holds_the_model_a_report_and_the_transform(result: Compressed) -> None:
    assert [file["path"] for file in result.output["files"]] == [
        "model.onnx",
        "compression.json",
        "transform.json",
    ]
    assert len(result.file("model.onnx")) == result.chosen.size_bytes
    assert json.loads(result.file("compression.json")) == result.output["candidates"]
    assert result.file("transform.json") == result.source.manifest.transform.to_json()
    onnx.checker.check_model(onnx.load_from_string(result.file("model.onnx")), full_check=True)


def test_the_signature_is_that_of_the_stored_model(result: Compressed) -> None:
    session = onnxruntime.InferenceSession(result.file("model.onnx"), providers=["CPUExecutionProvider"])
    types = {"FP32": "float", "INT64": "int64", "BYTES": "string", "UINT8": "uint8"}
    signature = result.output["signature"]
    for told, real in (
        (signature["inputs"], session.get_inputs()),
        (signature["outputs"], session.get_outputs()),
    ):
        assert [(each["name"], f"tensor({types[each['datatype']]})", each["shape"]) for each in told] == [
            (each.name, each.type, [-1, *each.shape[1:]]) for each in real
        ]
        assert {each.shape[0] for each in real} == {"batch"}
    classes = result.source.manifest.transform.classes
    assert signature["classes"] == list(classes)
    assert signature["outputs"][0]["name"] == (PROBABILITIES if classes else PREDICTION)


@pytest.mark.parametrize("records", [1, 7])
def test_the_stored_model_takes_batches_of_any_size(result: Compressed, records: int) -> None:
    # Eight bits round alike, whatever stands beside a record.
    np.testing.assert_allclose(result.ask(records), result.ask()[:records], rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def rough_digits(objects: ObjectStore) -> Source:
    """A model of digits that has hardly learned."""
    return train_source(objects, digits(), Mlp(hidden_units=(16,)), epochs=1)


def test_of_the_precisions_only_those_that_are_asked_for_are_tried(
    rough_digits: Source, tmp_path: Path
) -> None:
    assert list(compressed(rough_digits, tmp_path, precisions=["PRECISION_FP32"]).candidates) == ["fp32"]


def test_a_precision_that_no_calibration_is_possible_for_is_rejected(
    rough_digits: Source, tmp_path: Path
) -> None:
    result = compressed(rough_digits.on(Split.TEST), tmp_path)
    assert result.candidates["int8"].rejection == "could not be built: No data is collected."
    assert result.candidates["int8"].size_bytes == 0
    assert result.chosen.name in ("fp32", "fp16")


def test_answers_that_are_no_numbers_are_rejected(objects: ObjectStore, tmp_path: Path) -> None:
    # Raw areas go into the network, and there is no float16 as large as they are.
    source = train_source(objects, houses(area=Transform.IDENTITY), Mlp(hidden_units=(16,)), epochs=1)
    result = compressed(source, tmp_path, precisions=["PRECISION_FP16"], max_accuracy_drop=1.0)
    assert result.candidates["fp16"].rejection == (
        "could not be built: the fp16 model gives answers that are infinite or no numbers"
    )
    assert result.chosen.name == "fp32"


def lambda_model() -> bytes:
    import io
    import zipfile

    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("config.json", json.dumps(config))
    return archive.getvalue()


REFUSED: dict[str, tuple[Callable[[Source], Source], type[LeptonError], str]] = {
    "no held-out records": (lambda source: source.on(Split.TRAIN), SchemaViolation, "no held-out records"),
    "no model": (lambda source: source.with_model(b"text"), InvalidModel, "not a trained model"),
    "a model with code": (lambda source: source.with_model(lambda_model()), UnsafeModel, "Lambda"),
}


@pytest.mark.parametrize(("change", "error", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_compressed_fails_for_good(
    change: Callable[[Source], Source],
    error: type[LeptonError],
    words: str,
    rough_digits: Source,
    tmp_path: Path,
) -> None:
    _, outcome = work(change(rough_digits), tmp_path)
    assert outcome is not None
    assert isinstance(outcome.error, error)
    assert words in outcome.error.message


def test_a_model_that_changed_since_it_was_registered_is_refused(
    rough_digits: Source, tmp_path: Path
) -> None:
    changed = rough_digits.with_model(b"as it was registered")
    rough_digits.objects.put(changed.files[-1]["key"], b"as it is now")
    _, outcome = work(changed, tmp_path)
    assert outcome is not None
    assert isinstance(outcome.error, ChecksumMismatch)


def test_a_worker_that_is_asked_to_stop_leaves_the_job_to_another_attempt(
    rough_digits: Source, tmp_path: Path
) -> None:
    assert work(rough_digits, tmp_path, stop=True) == (RESTART_EXIT_CODE, None)
