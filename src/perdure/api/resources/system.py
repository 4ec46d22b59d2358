"""The server about itself: health, metrics, information, workers, and its own description."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from typing import Any

from perdure.api.answer import Answer
from perdure.api.call import Call
from perdure.api.docs import docs_page
from perdure.api.etags import not_modified
from perdure.api.metrics import Family, Sample, exposition
from perdure.api.route import API, NoQuery, Outcome, Route
from perdure.api.shapes import optional_time, time_text
from perdure.auth.roles import Role
from perdure.base.clock import SECOND
from perdure.engine.folders import Source as Folder
from perdure.errors import PerdureError
from perdure.model.states import ExecutionStatus
from perdure.store.interface import ExecutionFilter
from perdure.store.records import WorkerRecord
from perdure.wire.flows import BrokenFile, Source
from perdure.wire.system import Health, SearchInfo, SystemInfo, Worker, WorkerList

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


async def live(call: Call[NoQuery, None]) -> Answer:
    """The process answers."""
    return Answer(body=Health(status="ok", checks={}))


async def ready(call: Call[NoQuery, None]) -> Answer:
    """The store answers, has space, and the server takes starts; 503 while it does not. `checks` tell the reason."""
    engine = call.services.engine
    checks = {"store": "ok", "engine": "ok"}
    status = "ok"
    try:
        await engine.store.ping()
    except PerdureError as error:
        checks["store"] = error.code
        status = "unavailable"
    if (trouble := engine.recorder.trouble) is not None and status == "ok":
        # Reads may go on, but whoever starts something is refused.
        checks["store"] = trouble.code
        status = "unavailable"
    if engine.draining:
        checks["engine"] = status = "draining"
    return Answer(status=200 if status == "ok" else 503, body=Health(status=status, checks=checks))


async def metrics(call: Call[NoQuery, None]) -> Answer:
    """Prometheus text."""
    services = call.services
    rows, _ = await services.engine.store.executions.statistics(call.workspace, ExecutionFilter(), ["status"])
    counts = {str(row["status"]): row["count"] for row in rows}
    waiting = counts.get(ExecutionStatus.QUEUED, 0) + counts.get(ExecutionStatus.INTERRUPTED, 0)
    described = services.engine.describe()
    search = await services.engine.searcher.describe()
    families = [
        Family(
            "perdure_executions", "gauge", "Executions in the store by status.",
            [Sample("", {"status": status}, count) for status, count in sorted(counts.items())],
        ),
        _gauge("perdure_queue_depth", "Executions that wait for a worker.", waiting),
        _gauge("perdure_executions_owned", "Executions that this process is running.", described["owned"]),
        _gauge("perdure_slots", "Executions that this process may run at once.", described["slots"]),
        _gauge("perdure_orphans", "Attempts that could not be stopped and live on.", described["orphans"]["living"]),
        Family(
            "perdure_recycles", "counter", "How often this process has replaced itself because of such attempts.",
            [Sample("_total", {}, services.about.recycles)],
        ),
        _gauge("perdure_search_lag_seconds", "How far the index of texts is behind the commits.", search["lag_s"]),
        _gauge("perdure_search_waiting", "Executions that searches look through one by one.", search["waiting"]),
        _gauge("perdure_draining", "1 while the server is shutting down.", described["draining"]),
        _gauge("perdure_streams", "Open event streams.", len(services.streams)),
        *services.metrics.families(),
    ]  # fmt: skip
    return Answer(body=exposition(families).encode(), media_type=PROMETHEUS.encode())


def _gauge(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, [Sample("", {}, value)])


async def info(call: Call[NoQuery, None]) -> Answer:
    """What runs here, on what, since when."""
    services = call.services
    engine = services.engine
    now = services.clock.now()
    body = SystemInfo(
        name="perdure",
        version=version("perdure"),
        python=platform.python_version(),
        platform=platform.platform(),
        pid=os.getpid(),
        url=services.about.url,
        open=await services.authority.is_open(),
        started_at=time_text(services.about.started_at),
        uptime_s=(now - services.about.started_at) / SECOND,
        recycles=services.about.recycles,
        workspace=call.workspace,
        store=await engine.store.info(),
        engine=engine.describe(),
        search=SearchInfo(**await engine.searcher.describe()),
        sources=[_source(source) for source in engine.folders.sources],
        streams=len(services.streams),
    )
    return Answer(body=body)


async def list_workers(call: Call[NoQuery, None]) -> Answer:
    """Processes that run executions, or did until lately."""
    engine = call.services.engine
    now = call.services.clock.now()
    records = await engine.store.workers.list()
    if engine.store.sharing is None:
        # The store is this process's own, so whoever has not stopped answers here just now.
        for record in records:
            record.heartbeat_at = now if record.stopped_at is None else record.heartbeat_at
    return Answer(body=WorkerList(data=[_worker(record, now, engine.settings.lease) for record in records]))


async def openapi(call: Call[NoQuery, None]) -> Answer:
    """The OpenAPI 3.1 document of this server."""
    return _static(call, call.services.openapi(), b"application/json")


async def docs(call: Call[NoQuery, None]) -> Answer:
    """The reference as a page; it needs nothing but this server."""
    page = docs_page(call.services.openapi)
    answer = _static(call, page.html, b"text/html; charset=utf-8")
    answer.headers.append((b"content-security-policy", page.policy))
    return answer


async def root(call: Call[NoQuery, None]) -> Answer:
    """Leads a browser to the reference."""
    return Answer(status=307, headers=[(b"location", b"/docs")])


def _static(call: Call[Any, Any], data: bytes, media_type: bytes) -> Answer:
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    answer = not_modified(call, etag) or Answer(body=data, headers=[(b"etag", etag.encode())], media_type=media_type)
    answer.headers.append((b"cache-control", b"no-cache"))
    return answer


def _source(source: Folder) -> Source:
    broken = [BrokenFile(path=path, errors=list(errors)) for path, errors in source.broken.items()]
    return Source(name=source.name, path=source.path, flows=len(source.flows), broken=broken)


def _worker(record: WorkerRecord, now: int, lease: int) -> Worker:
    if record.stopped_at is not None:
        status = "stopped"
    else:
        status = "alive" if now - record.heartbeat_at < lease else "stale"
    return Worker(
        id=record.id,
        number=record.number,
        name=record.name,
        host=record.host,
        pid=record.pid,
        status=status,
        version=record.version,
        queues=None if record.queues is None else list(record.queues),
        tags=list(record.tags),
        slots=record.slots,
        owned=record.owned,
        started_at=time_text(record.started_at),
        heartbeat_at=time_text(record.heartbeat_at),
        silent_s=None if record.stopped_at is not None else max(now - record.heartbeat_at, 0) / SECOND,
        stopped_at=optional_time(record.stopped_at),
    )


_UNAVAILABLE = Outcome(status=503, type=Health, description="Draining, or the store does not answer")

ROUTES = (
    Route(
        method="GET", path="/health/live", summary="The process answers", tag="system", handler=live, role=None,
        outcomes=(Outcome(type=Health),),
    ),
    Route(
        method="GET", path="/health/ready", summary="The server takes starts", tag="system", handler=ready, role=None,
        outcomes=(Outcome(type=Health), _UNAVAILABLE),
    ),
    Route(
        method="GET", path="/metrics", summary="Prometheus metrics", tag="system", handler=metrics, role=Role.VIEWER,
        outcomes=(Outcome(media_type="text/plain", description="Prometheus text format 0.0.4"),),
    ),
    Route(
        method="GET", path="/system/info", summary="About this server", tag="system", handler=info, role=Role.VIEWER,
        outcomes=(Outcome(type=SystemInfo),),
    ),
    Route(
        method="GET", path=f"{API}/workers", summary="Workers", tag="system", handler=list_workers, role=Role.VIEWER,
        outcomes=(Outcome(type=WorkerList),),
    ),
    Route(
        method="GET", path="/openapi.json", summary="This API as OpenAPI 3.1", tag="system", handler=openapi, role=None,
        request_headers=("If-None-Match",),
        outcomes=(Outcome(type=dict[str, Any]), Outcome(status=304, description="Not modified")),
    ),
    Route(
        method="GET", path="/docs", summary="This API as a page", tag="system", handler=docs, role=None,
        request_headers=("If-None-Match",),
        outcomes=(Outcome(media_type="text/html"), Outcome(status=304, description="Not modified")),
    ),
    Route(
        method="GET", path="/", summary="Leads to the reference", tag="system", handler=root, role=None,
        outcomes=(Outcome(status=307, description="To /docs", headers=("Location",)),),
    ),
)  # fmt: skip

_OF_ITSELF = frozenset({"/health/live", "/health/ready", "/metrics", "/system/info"})
HEALTH_ROUTES = tuple(route for route in ROUTES if route.path in _OF_ITSELF)
"""About the process alone."""
