"""Metrics for Prometheus: requests, batch sizes, queue time, inference time, errors."""

from typing import Any

from lstn.imports import require

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one server, in a registry of their own. No label holds what a client sent."""

    def __init__(self) -> None:
        prometheus: Any = require("prometheus_client", extra="serve", package="prometheus-client")
        self._prometheus = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "lstn_requests",
            "Inference requests by what became of them.",
            ["model", "protocol", "outcome"],
            registry=registry,
        )
        self._errors = prometheus.Counter(
            "lstn_engine_errors", "Batches that the engine failed on.", ["model"], registry=registry
        )
        self._images = prometheus.Histogram(
            "lstn_batch_images", "Images in a batch.", ["model"], buckets=_IMAGES, registry=registry
        )
        self._queued = prometheus.Histogram(
            "lstn_queue_seconds",
            "From a request's pixels to its batch's start.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._inference = prometheus.Histogram(
            "lstn_inference_seconds", "The engine's time for a batch.", ["model"], buckets=_SECONDS, registry=registry
        )
        self._waiting = prometheus.Gauge(
            "lstn_waiting_images", "Images that were admitted and wait.", ["model"], registry=registry
        )

    def request(self, model: str, protocol: str, outcome: str) -> None:
        """Count one request."""
        self._requests.labels(model, protocol, outcome).inc()

    def batch(self, model: str, images: int, waited_s: list[float], took_s: float) -> None:
        """Note one batch: its size, how long each request in it had waited, and the engine's time."""
        self._images.labels(model).observe(images)
        self._inference.labels(model).observe(took_s)
        queued = self._queued.labels(model)
        for waited in waited_s:
            queued.observe(waited)

    def engine_error(self, model: str) -> None:
        """Count a batch that the engine failed on."""
        self._errors.labels(model).inc()

    def page(self, waiting: dict[str, int]) -> tuple[bytes, str]:
        """Return the page in Prometheus' text format, and its content type. waiting: images, by model."""
        for model, images in waiting.items():
            self._waiting.labels(model).set(images)
        return self._prometheus.generate_latest(self._registry), self._prometheus.CONTENT_TYPE_LATEST
