"""A nightly report, from a schedule: at three in the morning, and never two at a time.

dagnats dev examples/nightly.py       # a NATS server, a scheduler and a worker
dagnats trigger list                  # in another terminal
dagnats trigger fire report-cron      # not to wait until then
"""

from __future__ import annotations

from dagnats import App

app = App("nightly")


@app.task
async def collect(days: int) -> list[int]:
    """What there is to tell of the last days."""
    return [3 * day for day in range(1, days + 1)]


@app.task
async def write(numbers: list[int]) -> str:
    """The report."""
    return f"{sum(numbers)} orders in {len(numbers)} days"


@app.cron("0 3 * * *", tz="Europe/Berlin", overlap="skip", id="report-cron")
@app.workflow
def report(days: int = 1):
    """Collect, then write."""
    return write(collect(days))
