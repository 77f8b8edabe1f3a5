"""The daemon, if it runs, and what it serves."""

from __future__ import annotations

import errno
import socket
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from callengine.config.places import local_url
from callengine.doctor.finding import Findings, fail, ok, skip, warn
from callengine.doctor.patient import Patient

_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 4096
_JOURNAL: Final = "systemctl status callengine; journalctl -u callengine -n 50"


def _get(url: str) -> tuple[int, str]:
    """Status and beginning of the body; raises OSError. Neither proxies nor redirects count: it is to be that one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    request = urllib.request.Request(url, headers={"User-Agent": "callengine-doctor"})  # noqa: S310 - http(s) by the settings
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.read(_MAX_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_MAX_BYTES).decode("utf-8", "replace")
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None
    except ValueError:
        raise OSError("what answers is no HTTP") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _is_up(patient: Patient) -> bool:
    try:
        return _get(f"{local_url(patient.settings)}/livez") == (200, "alive\n")
    except OSError:
        return False


def daemon(patient: Patient) -> Findings:
    """Whether it runs, and is ready by its own word."""
    patient.answers["daemon"] = "up" if _is_up(patient) else ""
    if not patient.answers["daemon"]:
        remedy = "systemctl enable --now callengine; or callengine run"
        yield warn("daemon", f"no callengine answers at {local_url(patient.settings)}", remedy)
        return
    status, _ = _get(f"{local_url(patient.settings)}/readyz")
    if status == 200:
        yield ok("daemon", "it runs, and is ready")
    else:
        yield fail("daemon", "it runs, and is not ready: it has no switch, or no database", _JOURNAL)


def port(patient: Patient) -> Findings:
    """Whether the port is the daemon's, or free for it."""
    http = patient.settings.http
    where = f"{http.host}:{http.port}"
    if patient.answers.get("daemon"):
        yield ok("http", f"the daemon answers at {local_url(patient.settings)}")
        return
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = f"see which: ss -ltnp 'sport = :{http.port}'; or set http.port"
                yield fail("http", f"{where} is taken by another program", remedy)
            else:
                yield fail("http", f"{where} cannot be listened on: {error.strerror}", "set http.host and http.port")
            return
    yield ok("http", f"{where} is free")


def public_url(patient: Patient) -> Findings:
    """Whether recordings are linked by a URL that leads to us."""
    url = patient.settings.http.public_url
    host = urlsplit(url).hostname or ""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - told apart, not bound
        remedy = "set http.public_url, as in https://calls.example.com"
        yield fail("public url", f"recordings would be linked by {url}, which leads nowhere", remedy)
    elif not patient.answers.get("daemon"):
        yield skip("public url", f"{url} was not tried: the daemon does not run")
    else:
        try:
            reached = _get(f"{url}/livez") == (200, "alive\n")
            reason = "" if reached else ": something else answers there"
        except OSError as error:
            reached, reason = False, f": {error.strerror or error}"
        remedy = "set http.public_url to where clients reach us, or mend the proxy; tried from this machine alone"
        yield (
            ok("public url", f"{url} leads to us")
            if reached
            else warn("public url", f"{url} does not lead to us{reason}", remedy)
        )


def metrics(patient: Patient) -> Findings:
    """Whether Prometheus would be answered, from this machine."""
    if not patient.answers.get("daemon"):
        yield skip("metrics", "not tried: the daemon does not run")
        return
    url = f"{local_url(patient.settings)}/metrics"
    status, text = _get(url)
    if status == 200 and text.startswith("# HELP"):
        yield ok("metrics", f"{url} answers")
    elif status == 401:
        yield ok("metrics", f"{url} answers whoever has metrics.token")
    else:
        yield fail("metrics", f"{url} answers {status}", _JOURNAL)
