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
        found = CounterMetricFamily(
            "lepton_inference_cache_hits", "Requests that were answered from the cache.", labels=_LABELS
        )
        missed = CounterMetricFamily(
            "lepton_inference_cache_misses", "Requests that were not in the cache.", labels=_LABELS
        )
        kept = GaugeMetricFamily(
            "lepton_inference_cache_bytes", "Memory of the responses that are kept.", labels=_LABELS
        )
        for endpoint, deployment in self._repository.deployments():
            labels = (endpoint, deployment.version.number)
            statistics = deployment.statistics
            queue.add_metric(labels, deployment.queue_length)
            ready.add_metric((*labels, deployment.status.provider), float(deployment.state is State.READY))
            records.add_metric(labels, statistics.records)
            failed.add_metric(labels, statistics.fail.count)
            runs.add_metric(labels, statistics.run_count)
            seconds.add_metric(labels, statistics.run_ns / 1e9)
            found.add_metric(labels, statistics.cache_hit.count)
            missed.add_metric(labels, statistics.cache_miss.count)
            kept.add_metric(labels, deployment.cache_bytes)
        return (queue, ready, records, failed, runs, seconds, found, missed, kept)
