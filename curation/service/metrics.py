"""What Prometheus is told: requests as they are counted here, and the backlog as the ledger has it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from curation.ledger.fleet import rates
from curation.service.fleet import Fleet

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = {
    "unscored": ("curation_unscored_samples", "Samples that wait for a score."),
    "oldest_age": (
        "curation_oldest_unscored_age_seconds",
        "How long the longest waiting sample has been in the ledger; 0 if none waits.",
    ),
    "quarantined": ("curation_quarantined_samples", "Samples that could not be scored."),
    "leases": ("curation_leases", "Batches that are being scored."),
    "overdue": ("curation_overdue_leases", "Batches whose worker has been silent for too long."),
}
"""Fields of a backlog, and what they are called here."""

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Requests:
    """Requests by route template and never by address, so that nobody can make up new series."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._count = Counter(
            "curation_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "curation_http_request_seconds",
            "Time from the headers of a request to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self._count.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def exposition(self, fleet: Fleet) -> bytes:
        """Everything in Prometheus' text format."""
        ledger = CollectorRegistry()
        ledger.register(_Ledger(fleet))
        return generate_latest(ledger) + generate_latest(self._registry)


class _Ledger(Collector):
    """Gauges by dataset and scorer; scorers are named by the first 12 digits of their fingerprint."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for field, (name, text) in _GAUGES.items():
            family = GaugeMetricFamily(name, text, labels=("dataset", "scorer"))
            for backlog in self._fleet.backlogs:
                labels = backlog.dataset, backlog.fingerprint[:12]
                family.add_metric(labels, getattr(backlog, field) or 0.0)
            yield family
        alive = sum(worker.alive for worker in self._fleet.workers)
        yield GaugeMetricFamily("curation_workers_alive", "Workers seen within the last minute.", alive)
        speed = GaugeMetricFamily(
            "curation_samples_per_second", "What the workers alive score together.", labels=("scorer",)
        )
        for fingerprint, rate in rates(self._fleet.workers).items():
            speed.add_metric((fingerprint[:12],), rate)
        yield speed
        yield from self._targets()

    def _targets(self) -> Iterator[GaugeMetricFamily]:
        """How far behind the labeling platforms are; -1 where nothing was ever done."""
        labels = ("target", "platform")
        read = GaugeMetricFamily(
            "curation_target_pull_age_seconds",
            "Since decisions were read from a labeling platform.",
            labels=labels,
        )
        shown = GaugeMetricFamily(
            "curation_target_push_age_seconds",
            "Since a labeling platform was given the order.",
            labels=labels,
        )
        failing = GaugeMetricFamily(
            "curation_target_trouble",
            "1 if something keeps a target from being brought up to date.",
            labels=labels,
        )
        for target in self._fleet.targets:
            which = target.name, target.platform
            read.add_metric(which, -1.0 if target.since_pull is None else target.since_pull)
            shown.add_metric(which, -1.0 if target.since_push is None else target.since_push)
            failing.add_metric(which, float(target.trouble is not None))
        yield from (read, shown, failing)
