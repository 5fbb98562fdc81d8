"""Prometheus metrics of what is served: what waits, what was answered, how the batches were."""

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from lepton_common.telemetry.metrics import histogram_buckets
from lepton_inference.deployment import State
from lepton_inference.repository import Repository
from lepton_inference.statistics import BUCKET_SECONDS, Counts

_LABELS = ("endpoint", "version")
_BUCKET_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


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
            "lepton_inference_failed_requests",
            "Requests that were refused or failed.",
            labels=(*_LABELS, "reason"),
        )
        runs = CounterMetricFamily("lepton_inference_runs", "Runs of the model.", labels=_LABELS)
        seconds = CounterMetricFamily(
            "lepton_inference_run_seconds", "Time that the model ran.", labels=_LABELS
        )
        for endpoint, deployment in self._repository.deployments():
            labels = (endpoint, deployment.version.number)
            counts = deployment.statistics.counts()
            queue.add_metric(labels, deployment.queue_length)
            status = deployment.status
            ready.add_metric((*labels, status.provider), float(status.state is State.READY))
            share.add_metric((*labels, status.provider), status.provider_share)
            memory.add_metric(labels, deployment.memory_bytes)
            records.add_metric(labels, counts.records)
            for reason, count in [*counts.failures.items()]:
                failed.add_metric((*labels, reason), count)
            runs.add_metric(labels, counts.run_count)
            seconds.add_metric(labels, counts.run_ns / 1e9)
        return (
            queue,
            ready,
            share,
            memory,
            records,
            failed,
            runs,
            seconds,
            *self._cache(),
            *self._histograms(),
        )

    def _cache(self) -> Iterable[Metric]:
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
            counts = deployment.statistics.counts()
            found.add_metric(labels, counts.cache_hit.count)
            missed.add_metric(labels, counts.cache_miss.count)
            kept.add_metric(labels, deployment.cache_bytes)
        return (found, missed, kept)

    def _histograms(self) -> Iterable[Metric]:
        waited = HistogramMetricFamily(
            "lepton_inference_queue_seconds", "How long requests that were answered waited.", labels=_LABELS
        )
        computed = HistogramMetricFamily(
            "lepton_inference_compute_seconds", "How long their batches took.", labels=_LABELS
        )
        total = HistogramMetricFamily(
            "lepton_inference_request_seconds", "How long they took altogether.", labels=_LABELS
        )
        sizes = HistogramMetricFamily(
            "lepton_inference_batch_records", "Records of the runs of the model.", labels=_LABELS
        )
        for endpoint, deployment in self._repository.deployments():
            labels = (endpoint, deployment.version.number)
            counts = deployment.statistics.counts()
            for histogram, of_buckets, ns in (
                (waited, counts.queue_counts, counts.queue.ns),
                (computed, counts.compute_counts, counts.requests.ns),
                (total, counts.total_counts, counts.success.ns),
            ):
                histogram.add_metric(labels, histogram_buckets(BUCKET_SECONDS, of_buckets), ns / 1e9)
            sizes.add_metric(labels, *_batch_sizes(counts))
        return (waited, computed, total, sizes)


def _batch_sizes(of: Counts) -> tuple[list[tuple[str, float]], float]:
    """The buckets of the runs by their records, and all records that ran."""
    counts = [0] * (len(_BUCKET_RECORDS) + 1)
    records = 0
    for size, stages in [*of.runs.items()]:
        counts[bisect_left(_BUCKET_RECORDS, size)] += stages.count
        records += size * stages.count
    return histogram_buckets(_BUCKET_RECORDS, counts), records
