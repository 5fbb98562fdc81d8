"""The work of a compression job: export, check against Keras, build candidates, measure, choose."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.jobs.worker import Worker
from lepton_common.manifests import Blob, fetch_blob, put_blob
from lepton_compressor.selection import Candidate, select, selected
from lepton_compressor.worker import variants
from lepton_compressor.worker.measurement import (
    Records,
    accuracy,
    latencies,
    negative_relative_error,
    open_session,
    outputs,
)
from lepton_learn.manifest import Manifest, Split, load_manifest
from lepton_learn.reading import read_split

logger = logging.getLogger(__name__)

PROVIDER = "CPUExecutionProvider"
MOST_DIFFERENCE = 1e-4
"""Between the fp32 export and Keras, over the held-out split."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The records that candidates are measured on."""

    records: Records
    """Raw feature columns, as the exported model takes them."""
    labels: NDArray[Any]
    """Class places int64 [n], or values float32 [n]."""
    classes: tuple[str, ...]
    """Empty for a regression."""

    @property
    def metric(self) -> str:
        """Name of the score."""
        return "accuracy" if self.classes else "negative_relative_error"

    def score(self, answers: NDArray[np.float32]) -> float:
        """Higher is better."""
        return (accuracy if self.classes else negative_relative_error)(answers, self.labels)


def compress(worker: Worker) -> Mapping[str, Any]:
    """Do the whole job and return its output."""
    from lepton_learn.exporting import export_onnx

    spec = worker.spec["spec"]
    steps = _Steps(worker, total=4 + len(spec["precisions"]))
    manifest = load_manifest(
        worker.objects, worker.spec["manifest"]["key"], sha256=worker.spec["manifest"]["sha256"]
    )
    model = _load_keras(worker)
    steps.done("exporting")
    plain = export_onnx(model, manifest.transform)
    steps.done("checking")
    held_out = read_held_out(worker, manifest)
    expected = expected_outputs(model, manifest, held_out)
    built = {"fp32": plain}
    faults: dict[str, str] = {}
    for precision in spec["precisions"]:
        name = precision.removeprefix("PRECISION_").lower()
        steps.done(f"building {name}")
        try:
            built[name] = _build(name, plain, worker, manifest, spec)
        except Exception as fault:
            # The tools fail in many ways on graphs they do not know. That is a finding about the
            # candidate, not a failure of the job.
            logger.exception("%s could not be built", name)
            faults[name] = f"could not be built: {type(fault).__name__}"
    steps.done("measuring")
    measured = measure(built, held_out, expected)
    if measured[0].max_difference > MOST_DIFFERENCE:
        raise InvalidModel(
            f"the export differs from Keras by {measured[0].max_difference:.2g}, more than {MOST_DIFFERENCE:g}"
        )
    broken = [_broken(measured[0], name, fault) for name, fault in faults.items()]
    judged = select(measured[0], [*measured[1:], *broken], max_drop=spec.get("max_accuracy_drop", 0.0))
    best = selected(judged)
    steps.done("storing")
    return {
        "files": _store(worker, built[best.name], judged),
        "signature": read_signature(built[best.name], held_out.classes),
        "metrics": {best.metric: best.score, "latency_ms": best.latency_ms, "size_bytes": best.size_bytes},
        "candidates": [candidate.to_dict() for candidate in judged],
    }


class _Steps:
    """Counts the steps of the job, and stops between two when asked to."""

    def __init__(self, worker: Worker, *, total: int) -> None:
        self._worker = worker
        self._total = total
        self._count = 0

    def done(self, following: str) -> None:
        if self._worker.stop_requested:
            raise Cancelled("asked to stop")
        self._worker.progress(following, self._count, total=self._total, unit="step")
        self._count += 1


def _load_keras(worker: Worker) -> Any:
    """The trained model, its bytes checked against their digest; layers that could carry code are refused."""
    import keras

    files = {file["path"]: Blob(file["key"], file["sha256"], file["size_bytes"]) for file in _source(worker)}
    if "model.keras" not in files:
        raise InvalidModel("the source version has no file model.keras")
    path = worker.directory / "model.keras"
    fetch_blob(worker.objects, files["model.keras"], path)
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _source(worker: Worker) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = worker.spec["source"]["files"]
    return found


def read_held_out(worker: Worker, manifest: Manifest) -> HeldOut:
    """The test split, or the validation split of a dataset that has none.

    Raises:
        InvalidModel: the dataset version has neither, so nothing can be measured.
    """
    for split in (Split.TEST, Split.VALIDATION):
        if manifest.records(split):
            batch = read_split(worker.objects, manifest, split)
            return HeldOut(
                records=as_inputs(manifest, batch),
                labels=manifest.transform.labels(batch),
                classes=manifest.transform.classes,
            )
    raise InvalidModel("the dataset version has no held-out records, so no candidate can be measured")


def as_inputs(manifest: Manifest, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Raw columns in the shapes of the exported model: scalars as [n, 1]."""
    columns = {column.name: batch[column.name] for column in manifest.schema.features}
    return {
        name: values[:, np.newaxis] if values.ndim == 1 else values for name, values in columns.items()
    }


def expected_outputs(model: Any, manifest: Manifest, held_out: HeldOut) -> NDArray[np.float32]:
    """What Keras answers for the held-out records: the oracle of the export."""
    from lepton_learn.exporting import keras_outputs

    return keras_outputs(model, manifest.transform, {n: _flat(v) for n, v in held_out.records.items()})


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _build(
    name: str, plain: bytes, worker: Worker, manifest: Manifest, spec: Mapping[str, Any]
) -> bytes:
    if name == "fp16":
        return variants.to_fp16(plain)
    training = read_split(worker.objects, manifest, Split.TRAIN)
    count = min(spec["calibration_records"], manifest.records(Split.TRAIN))
    # Evenly spread over the split, whatever its order.
    chosen = np.linspace(0, manifest.records(Split.TRAIN) - 1, count).astype(np.int64)
    records = {name: values[chosen] for name, values in as_inputs(manifest, training).items()}
    return variants.to_int8(plain, records)


def measure(built: Mapping[str, bytes], held_out: HeldOut, expected: NDArray[np.float32]) -> list[Candidate]:
    """Size, score, difference to Keras and latency of every model, in one run."""
    sessions = [open_session(model, provider=PROVIDER) for model in built.values()]
    times = latencies(sessions, held_out.records)
    candidates = []
    for (name, model), session, latency in zip(built.items(), sessions, times, strict=True):
        answers = outputs(session, held_out.records)
        candidates.append(
            Candidate(
                name=name,
                precision=f"PRECISION_{name.upper()}",
                size_bytes=len(model),
                score=held_out.score(answers),
                metric=held_out.metric,
                latency_ms=latency.single,
                batch_latency_ms=latency.batch,
                max_difference=float(np.abs(answers - expected).max()),
                provider=session.get_providers()[0],
            )
        )
    return candidates


def _broken(plain: Candidate, name: str, fault: str) -> Candidate:
    return Candidate(
        name=name,
        precision=f"PRECISION_{name.upper()}",
        size_bytes=0,
        score=0.0,
        metric=plain.metric,
        latency_ms=0.0,
        batch_latency_ms=0.0,
        max_difference=0.0,
        provider=plain.provider,
        rejection=fault,
    )


def _store(worker: Worker, model: bytes, judged: list[Candidate]) -> list[dict[str, Any]]:
    """Write the version's files; `transform.json` is the source's, by reference."""
    report = json.dumps([candidate.to_dict() for candidate in judged], indent=2).encode()
    written = {
        "model.onnx": put_blob(worker.objects, "models", model),
        "compression.json": put_blob(worker.objects, "models", report),
    }
    files = [
        {"path": path, "sha256": blob.sha256, "size_bytes": blob.size_bytes, "key": blob.key}
        for path, blob in written.items()
    ]
    return files + [file for file in _source(worker) if Path(file["path"]).name == "transform.json"]


DATATYPES = {
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.STRING: "BYTES",
}
"""Datatype of the Open Inference Protocol of every element type that an export takes or gives."""


def read_signature(model: bytes, classes: tuple[str, ...]) -> dict[str, Any]:
    """The signature as the model itself tells it; -1 stands for the batch."""
    graph = onnx.load_from_string(model).graph
    constants = {initializer.name for initializer in graph.initializer}

    def tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
        kind = value.type.tensor_type
        shape = [each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim]
        return {"name": value.name, "datatype": DATATYPES[kind.elem_type], "shape": shape}

    return {
        "inputs": [tensor(value) for value in graph.input if value.name not in constants],
        "outputs": [tensor(value) for value in graph.output],
        "classes": [*classes],
    }
