"""``python -m callengine``: the same as the command ``callengine``."""

from __future__ import annotations

import sys

from callengine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
