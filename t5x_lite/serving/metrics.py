"""What /metrics tells, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, open files
        self.requests = Counter(
            "t5x_lite_requests", "Requests by path and status.", ["path", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.generated_tokens = self._counter("t5x_lite_generated_tokens", "Tokens generated.")
        self.prompt_tokens = self._counter("t5x_lite_prompt_tokens", "Tokens of prompts.")
        self.cancelled = self._counter(
            "t5x_lite_cancelled_requests", "Requests whose client went away, or that took too long."
        )
        self.first_token = self._histogram(
            "t5x_lite_time_to_first_token_seconds", "From the request to its first token."
        )
        self.latency = self._histogram(
            "t5x_lite_request_seconds", "From the request to the end of its answer."
        )

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def render(self) -> bytes:
        """All of them, as text."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self._registry)
