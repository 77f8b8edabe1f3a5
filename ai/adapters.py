"""How the sessions of requests that google-generativeai uses reach their server, or do without one."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from callengine.ai import warm
from callengine.ai.reading import Part


class OneContext(HTTPAdapter):
    """Connections that all use one TLS context, whatever certificates the environment names by now."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, **more)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **more)

    # Both would have the certificates that the environment names read again, for each connection.

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        return super().build_connection_pool_key_attributes(request, bool(verify), cert)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


class Rehearsal(HTTPAdapter):
    """Answers without a server."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        for _piece in request.body if isinstance(request.body, Part) else ():
            pass
        answer = requests.Response()
        answer.status_code = 200
        answer.headers.update(warm.UPLOAD_HEADERS)
        answer.request, answer.url = request, str(request.url)
        path = urlsplit(answer.url).path
        answer._content = json.dumps(warm.answer(request.method or "", path)).encode()
        return answer
