"""Importing this module makes the standard library cooperate with gevent; it has to come before any other import.

Each entry point has ``import callengine.patched`` as its first statement, and so has the test run (``-p`` in
pyproject.toml). A library that was imported earlier keeps the blocking functions it took: psycopg then picks the wait
function that stops the whole daemon for the length of a query.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()
