"""Whom to trust, read once: either package would read all certificates anew, for 20 ms, when the hub is needed."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

import certifi

_REQUESTS_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted() -> ssl.SSLContext:
    """What the system trusts, and what certifi does where there is no such thing; else what ``SSL_CERT_FILE`` or
    ``SSL_CERT_DIR`` name, and nothing besides."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        context.load_verify_locations(certifi.where())
    return context


def trusted_by_requests() -> ssl.SSLContext:
    """The same, but for the variables that requests gives precedence."""
    bundle = next((os.environ[name] for name in _REQUESTS_VARIABLES if os.environ.get(name)), None)
    if bundle is None:
        return trusted()
    if Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)
