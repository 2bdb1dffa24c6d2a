"""A small HTTP server for pages about this process: read-only, bounded, on this machine by default.

`values` says what is asked and answered, `access` who may ask, `feed` what is told as it happens, `handler` reads one
request and answers it, `server` listens.
"""

from __future__ import annotations

from roughfed.httpd.access import Access, is_loopback
from roughfed.httpd.feed import Feed
from roughfed.httpd.server import HttpServer
from roughfed.httpd.values import EventStream, Page, Request, Response, Routes, health

__all__ = [
    "Access",
    "EventStream",
    "Feed",
    "HttpServer",
    "Page",
    "Request",
    "Response",
    "Routes",
    "health",
    "is_loopback",
]
