"""The route table: every path of the native API in one place."""

from __future__ import annotations

from perdure.api.resources import artifacts, executions, flows, history, node_runs, starts, system, tokens
from perdure.api.route import Route

__all__ = ["HEALTH_ROUTES", "ROUTES"]

HEALTH_ROUTES = system.HEALTH_ROUTES
"""What a worker without an API answers."""

ROUTES: tuple[Route, ...] = (
    *starts.ROUTES,
    *executions.ROUTES,
    *history.ROUTES,
    *node_runs.ROUTES,
    *artifacts.ROUTES,
    *flows.ROUTES,
    *tokens.ROUTES,
    *system.ROUTES,
)
