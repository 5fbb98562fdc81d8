"""Prometheus metrics of what is served: what waits, what was answered, how the batches were."""

from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lepton_inference.deployment import State
from lepton_inference.repository import Repository

_LABELS = ("endpoint", "version")


class ServingMetrics(Collector):
    """Reads the figures out of the repository when somebody asks for them.

    So they end with the version that they are about, and nobody has to clean up after it.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def register(self) -> None:
        """Shows the metrics along with those of the process."""
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: what there is depends on what is served."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The figures of now; called from the thread of the metrics endpoint."""
        queue = GaugeMetricFamily("lepton_inference_queue_requests", "Requests that wait.", labels=_LABELS)
        ready = GaugeMetricFamily(
            "lepton_inference_ready", "1 when the version answers.", labels=(*_LABELS, "provider")
        )
        share = GaugeMetricFamily(
            "lepton_inference_provider_share",
            "Share of the model's nodes that the provider runs.",
            labels=(*_LABELS, "provider"),
        )
        memory = GaugeMetricFamily(
            "lepton_inference_model_memory_bytes",
            "Memory that the model was measured to take.",
            labels=_LABELS,
        )
        records = CounterMetricFamily(
            "lepton_inference_records", "Records that were answered.", labels=_LABELS
        )
        failed = CounterMetricFamily(
            "lepton_inference_failed_requests", "Requests that were refused or failed.", labels=_LABELS
        )
        runs = CounterMetricFamily("lepton_inference_runs", "Runs of the model.", labels=_LABELS)
        seconds = CounterMetricFamily(
            "lepton_inference_run_seconds", "Time that the model ran.", labels=_LABELS
        )
        for endpoint, deployment in self._repository.deployments():
            labels = (endpoint, deployment.version.number)
            statistics = deployment.statistics
            queue.add_metric(labels, deployment.queue_length)
            status = deployment.status
            ready.add_metric((*labels, status.provider), float(status.state is State.READY))
            share.add_metric((*labels, status.provider), status.provider_share)
            memory.add_metric(labels, deployment.memory_bytes)
            records.add_metric(labels, statistics.records)
            failed.add_metric(labels, statistics.fail.count)
            runs.add_metric(labels, statistics.run_count)
            seconds.add_metric(labels, statistics.run_ns / 1e9)
        return (queue, ready, share, memory, records, failed, runs, seconds)
