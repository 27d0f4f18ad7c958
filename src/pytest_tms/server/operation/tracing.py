"""OpenTelemetry traces, if an endpoint for them is set and the extra ``otel`` is installed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy import Engine

LOG = logging.getLogger("pytest_tms.server")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXCLUDED = "/healthz,/readyz,/metrics,/stream"
"""Parts of the URLs of requests that are not traced: checks, and streams that last for minutes."""


def is_requested(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the standard variables of OpenTelemetry request traces."""
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_disabled and any(environ.get(name) for name in ENDPOINTS)


def traced(app: ASGIApp, engine: Engine) -> ASGIApp:
    """Return the application with a span for each request and each statement, or unchanged without traces.

    The exporter reads its settings from the variables of OpenTelemetry. Nothing of it is imported unless they
    request traces.
    """
    if not is_requested():
        return app
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind
    except ModuleNotFoundError:
        LOG.warning('traces are not sent: pip install "pytest-tms[server,otel]", or unset %s', ENDPOINTS[0])
        return app

    class RequestsOnly(BatchSpanProcessor):
        """Leaves out the statements of background jobs, which poll the database all the time."""

        def on_end(self, span: ReadableSpan) -> None:
            if span.parent is not None or span.kind is SpanKind.SERVER:
                super().on_end(span)

    resource = Resource.create({SERVICE_NAME: "pytest-tms"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(RequestsOnly(OTLPSpanExporter()))
    # Its check refuses SQLAlchemy 2.1, with which it works: it uses events of the engine only.
    SQLAlchemyInstrumentor().instrument(engine=engine, tracer_provider=provider, skip_dep_check=True)
    made: Any = OpenTelemetryMiddleware(
        _NamedSpans(app),
        excluded_urls=EXCLUDED,
        server_request_hook=_without_query,
        tracer_provider=provider,
        exclude_spans=["receive", "send"],
    )
    return cast("ASGIApp", made)


class _NamedSpans:
    """Names the span of a request by its route, which is known after the request was routed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry import trace

        span = trace.get_current_span()

        async def named_send(message: Message) -> None:
            # The span ends with the last message of the response.
            if message["type"] == "http.response.start" and (route := scope.get("path_template")):
                span.update_name(f"{scope.get('method', '')} {route}")
                span.set_attribute("http.route", str(route))
            await send(message)

        await self._app(scope, receive, named_send)


def _without_query(span: Any, scope: Mapping[str, Any]) -> None:
    """Remove the query of a request from its span: it may contain a search term or a secret."""
    if not span.is_recording():
        return
    for name in ("http.url", "url.full", "http.target", "url.query"):
        if isinstance(text := span.attributes.get(name), str) and (name == "url.query" or "?" in text):
            span.set_attribute(name, "" if name == "url.query" else text.partition("?")[0])
