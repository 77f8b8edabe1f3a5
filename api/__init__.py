"""The HTTP API: a Flask blueprint that reads the store and hands orders to the engine through ``services``.

``create_blueprint(services)`` mounts anywhere, ``create_app(services)`` is the daemon's application, ``ApiServer``
(in ``server``) serves it.
"""

from __future__ import annotations
