"""What the scenarios of triggers start."""

from typing import Any

from dagnats import App

app = App("triggers")


@app.cron("0 0 1 1 *", id="new-year", input=None)
@app.task
async def note(given: Any = None) -> Any:
    """Give back what it is given."""
    return given
