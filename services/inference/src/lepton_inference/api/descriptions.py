"""What the server says of itself and its models: metadata, configuration, index and statistics."""

from collections.abc import Iterable
from importlib.metadata import version

from inference import grpc_service_pb2 as pb
from inference import model_config_pb2 as config_pb
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import MODEL_FILE
from lepton_inference.deployment import Deployment, State, Status
from lepton_inference.model import Model
from lepton_inference.queued import DEFAULT_PRIORITY, PRIORITIES
from lepton_inference.signature import TensorSpec
from lepton_inference.statistics import Duration, Statistics

PACKAGE = "lepton-inference"
EXTENSIONS = ("classification", "model_configuration", "model_repository", "schedule_policy", "statistics")
SHARED_MEMORY = "system_shared_memory"
"""The extension that is there by setting."""
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

_INDEX_STATES = {State.LOADING: "LOADING", State.READY: "READY", State.FAILED: "UNAVAILABLE"}


def server_metadata(*, shared_memory: bool) -> pb.ServerMetadataResponse:
    """Name, version and extensions of this server."""
    extensions = sorted((*EXTENSIONS, SHARED_MEMORY)) if shared_memory else EXTENSIONS
    return pb.ServerMetadataResponse(name=PACKAGE, version=version(PACKAGE), extensions=extensions)


def model_metadata(name: str, deployment: Deployment, *, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """What the model takes and gives; `versions` are the numbers of those that answer."""
    signature = deployment.model.signature
    return pb.ModelMetadataResponse(
        name=name,
        versions=versions,
        platform=PLATFORM,
        inputs=map(_tensor_metadata, signature.inputs),
        outputs=map(_tensor_metadata, signature.outputs),
        parameters=_what_runs(deployment.model),
    )


def model_config(name: str, deployment: Deployment, *, versions: Iterable[str]) -> config_pb.ModelConfig:
    """How the model is served, in the words of the configuration extension."""
    model, limits = deployment.model, deployment.limits
    skip = int(model.batched)
    kind = config_pb.ModelInstanceGroup.KIND_GPU if model.on_gpu else config_pb.ModelInstanceGroup.KIND_CPU
    return config_pb.ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=BACKEND,
        version_policy=config_pb.ModelVersionPolicy(
            specific=config_pb.ModelVersionPolicy.Specific(versions=map(int, versions))
        ),
        max_batch_size=limits.max_batch_size,
        input=[
            config_pb.ModelInput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[skip:])
            for spec in model.signature.inputs
        ],
        output=[
            config_pb.ModelOutput(name=spec.name, data_type=_data_type(spec), dims=spec.shape[skip:])
            for spec in model.signature.outputs
        ],
        dynamic_batching=_dynamic_batching(limits) if model.batched else None,
        instance_group=[config_pb.ModelInstanceGroup(name=f"{name}_0", kind=kind, count=model.instances)],
        default_model_filename=MODEL_FILE,
        response_cache=config_pb.ModelResponseCache(enable=deployment.cache is not None),
        parameters={
            "provider": config_pb.ModelParameter(string_value=model.provider),
            "provider_share": config_pb.ModelParameter(string_value=str(model.provider_share)),
            "threads": config_pb.ModelParameter(string_value=str(model.threads)),
        },
    )


def index_entry(name: str, status: Status) -> pb.RepositoryIndexResponse.ModelIndex:
    """A version, as the repository index lists it."""
    return pb.RepositoryIndexResponse.ModelIndex(
        name=name,
        version=status.version.rpartition("/")[2],
        state=_INDEX_STATES[status.state],
        reason=status.reason or _runs_on(status),
    )


def model_statistics(name: str, deployment: Deployment) -> pb.ModelStatistics:
    """Counts and times of one version."""
    statistics: Statistics = deployment.statistics
    counts = statistics.counts()
    return pb.ModelStatistics(
        name=name,
        version=deployment.version.number,
        last_inference=statistics.last_request_ms,
        inference_count=counts.records,
        execution_count=counts.run_count,
        inference_stats=pb.InferStatistics(
            success=_duration(counts.success),
            fail=_duration(counts.fail),
            queue=_duration(counts.queue),
            compute_input=_duration(counts.requests.input),
            compute_infer=_duration(counts.requests.infer),
            compute_output=_duration(counts.requests.output),
            cache_hit=_duration(counts.cache_hit),
            cache_miss=_duration(counts.cache_miss),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=records,
                compute_input=_duration(stages.input),
                compute_infer=_duration(stages.infer),
                compute_output=_duration(stages.output),
            )
            for records, stages in sorted(counts.runs.items())
        ],
    )


def _what_runs(model: Model) -> dict[str, pb.InferParameter]:
    return {
        "provider": pb.InferParameter(string_param=model.provider),
        "provider_share": pb.InferParameter(double_param=model.provider_share),
        "memory_bytes": pb.InferParameter(int64_param=model.memory_bytes),
    }


def _runs_on(status: Status) -> str:
    """Which provider runs how much of a model."""
    return f"{status.provider} runs {status.provider_share:.0%} of it" if status.provider else ""


def _tensor_metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _data_type(spec: TensorSpec) -> "config_pb.DataType.ValueType":
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return config_pb.DataType.Value(f"TYPE_{name}")


def _dynamic_batching(limits: BatchLimits) -> config_pb.ModelDynamicBatching:
    return config_pb.ModelDynamicBatching(
        preferred_batch_size=limits.preferred_batch_sizes,
        priority_levels=PRIORITIES,
        default_priority_level=DEFAULT_PRIORITY,
        max_queue_delay_microseconds=round(limits.max_delay_seconds * 1e6),
        default_queue_policy=config_pb.ModelQueuePolicy(
            timeout_action=config_pb.ModelQueuePolicy.REJECT,
            allow_timeout_override=True,
            max_queue_size=limits.max_queue_requests,
        ),
    )


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
