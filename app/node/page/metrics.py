"""``/metrics``: counts for Prometheus, read from the ledger when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.node import history
from app.node.ledger import Ledger
from app.node.page.access import Access
from operators.vocabulary.version import VERSION


class LedgerCollector(Collector):
    """What the ledger says, as metrics.

    Args:
        ledger: of the node.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """Read the ledger."""
        yield InfoMetricFamily("quantmap", "the software", {"version": VERSION})
        jobs = GaugeMetricFamily("quantmap_jobs", "jobs in the history, by state", labels=["state"])
        for state, count in history.job_counts(self._ledger).items():
            jobs.add_metric([state], count)
        yield jobs
        waiting = history.queue(self._ledger)
        yield GaugeMetricFamily(
            "quantmap_oldest_waiting_job_seconds",
            "age of the oldest job that has not ended",
            time.time() - waiting[0].created if waiting else 0,
        )
        open_collections = history.receiving(self._ledger)
        yield GaugeMetricFamily(
            "quantmap_receiving",
            "studies or series of which more is awaited",
            len(open_collections),
        )
        objects = GaugeMetricFamily(
            "quantmap_deliveries", "result objects by target and state", labels=["target", "state"]
        )
        for target in history.targets(self._ledger):
            for name in ("waiting", "delivered", "failed"):
                objects.add_metric([target.name, name], getattr(target, name))
        yield objects
        seen = GaugeMetricFamily(
            "quantmap_machine_seen_timestamp_seconds",
            "when a node that shares the work was last alive",
            labels=["machine"],
        )
        for machine in history.machines(self._ledger):
            seen.add_metric([machine.name], machine.seen)
        yield seen


def metrics_router(ledger: Ledger, access: Access, open_to_all: bool) -> APIRouter:
    """The route ``/metrics``.

    Args:
        ledger: of the node.
        access: decides who may ask.
        open_to_all: whether everybody may.
    """
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    router = APIRouter(tags=["health"])

    @router.get("/metrics", response_class=Response)
    def metrics(request: Request) -> Response:
        """Metrics in the text format of Prometheus."""
        if not open_to_all:
            access.user(request)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
