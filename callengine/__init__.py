"""callengine: a gevent daemon beside FreeSWITCH that originates, tracks and serves calls.

Importing this package has no effect besides defining ``__version__``: the monkey-patching is the business of the
entry points (``callengine.__main__`` and ``callengine.cli.main``), which do it in their first statements.
"""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
