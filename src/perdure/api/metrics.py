"""What the server counts of itself: plain integers on the loop, made into Prometheus text when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from perdure.model.event import TERMINAL_TYPES, EventChunk, EventType

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Sample(NamedTuple):
    """One line of a metric family. `suffix` is `_total`, `_bucket`, … or empty."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class Family(NamedTuple):
    """`kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


class _Latency:
    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.sum_s = 0.0


class Metrics:
    """Counts of this server's own; used on the loop only."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._latencies: dict[str, _Latency] = {}
        self._events = dict.fromkeys((EventType.EXECUTION_CREATED, EventType.LOG_TRUNCATED, *sorted(TERMINAL_TYPES)), 0)
        self.streams_cut = 0
        """Event streams that were ended because their reader had stopped."""
        self.sources: list[Callable[[], Iterable[Family]]] = []
        """Who else has something to tell."""

    def committed(self, chunks: Iterable[EventChunk]) -> None:
        """Count the events of a commit that are counted."""
        counts = self._events
        for chunk in chunks:
            for event in chunk.events:
                if event.type in counts:
                    counts[event.type] += 1  # type: ignore[index]

    def request(self, route: str, status: int, seconds: float | None) -> None:
        """Count one answer; `seconds` is None for streams, which have no latency."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        if seconds is None:
            return
        latency = self._latencies.get(route)
        if latency is None:
            latency = self._latencies[route] = _Latency()
        latency.buckets[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        latency.sum_s += seconds

    def families(self) -> list[Family]:
        ends = [
            Sample("_total", {"status": kind.partition(".")[2]}, self._events[kind]) for kind in sorted(TERMINAL_TYPES)
        ]
        return [
            Family(
                "perdure_executions_started", "counter", "Executions started in this process.",
                [Sample("_total", {}, self._events[EventType.EXECUTION_CREATED])],
            ),
            Family("perdure_executions_ended", "counter", "Executions that ended in this process, by status.", ends),
            Family(
                "perdure_logs_truncated", "counter", "Executions whose log was cut at its limit.",
                [Sample("_total", {}, self._events[EventType.LOG_TRUNCATED])],
            ),
            Family(
                "perdure_http_requests", "counter", "Answered requests by route and status.",
                [Sample("_total", {"route": route, "status": str(status)}, count)
                 for (route, status), count in sorted(self._requests.items())],
            ),
            Family(
                "perdure_http_request_seconds", "histogram", "Time from a request's headers to its answer, by route.",
                [
                    sample
                    for route, latency in sorted(self._latencies.items())
                    for sample in histogram({"route": route}, LATENCY_BUCKETS_S, latency.buckets, latency.sum_s)
                ],
            ),
            Family(
                "perdure_streams_cut", "counter", "Event streams ended because their reader had stopped.",
                [Sample("_total", {}, self.streams_cut)],
            ),
            *(family for source in self.sources for family in source()),
        ]  # fmt: skip


def histogram(
    labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> Iterable[Sample]:
    """Samples of a histogram; `counts` has one number per bound and one for all beyond the last."""
    reached = 0
    for bound, count in zip(bounds, counts, strict=False):
        reached += count
        yield Sample("_bucket", {**labels, "le": f"{bound:g}"}, reached)
    everything = sum(counts)
    yield Sample("_bucket", {**labels, "le": "+Inf"}, everything)
    yield Sample("_count", labels, everything)
    yield Sample("_sum", labels, total)


def exposition(families: Iterable[Family]) -> str:
    """The Prometheus text format, version 0.0.4."""
    lines = []
    for family in families:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines.append(f"# HELP {name} {_escaped(family.help)}")
        lines.append(f"# TYPE {name} {family.kind}")
        for sample in family.samples:
            labels = ",".join(f'{key}="{_escaped(value, quote=True)}"' for key, value in sample.labels.items())
            lines.append(f"{family.name}{sample.suffix}{{{labels}}} {sample.value:.17g}" if labels
                         else f"{family.name}{sample.suffix} {sample.value:.17g}")  # fmt: skip
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
