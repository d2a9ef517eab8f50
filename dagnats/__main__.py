"""``python -m dagnats`` is the ``dagnats`` command."""

from __future__ import annotations

from dagnats.cli.main import main

if __name__ == "__main__":
    main()
