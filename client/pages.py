"""`/metrics` and `/healthz` of a client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roughfed.httpd import HttpServer, Request, Response, health
from roughfed.telemetry import CONTENT_TYPE

if TYPE_CHECKING:
    from roughfed.client.app import Agent
    from roughfed.config.client import Http

log = logging.getLogger(__name__)


def serve_http(settings: Http, agent: Agent) -> HttpServer:
    """Serve them for an agent until they are stopped."""

    def metrics(_: Request) -> Response:
        return Response(agent.metrics.render(), CONTENT_TYPE)

    def healthz(_: Request) -> Response:
        connected, phase = agent.health()
        return health({"running": True}, connected=connected, phase=phase, **agent.mode.facts())

    routes = {"/metrics": metrics, "/healthz": healthz}
    server = HttpServer(settings.host, settings.port, routes, key="http.port")
    log.info("metrics on http://%s:%d/metrics", settings.host, server.port)
    return server
