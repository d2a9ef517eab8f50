"""Letters for tests, and runs that can be opened again."""

import msgspec

from dagnats.errors import RequestError
from dagnats.ports import Append
from dagnats.wire import subjects


class Runs:
    """What opening a run again does: it is noted, or refused."""

    def __init__(self):
        self.opened = []
        self.refuse = ""

    async def retry(self, run):
        """As ``client.retry``."""
        if self.refuse:
            raise RequestError(f"run {run} cannot be retried: {self.refuse}")
        self.opened.append(run)


def work(run="r1", step="pay", task="charge", **more):
    """The letter of a step that was given up."""
    said = {
        "Run-Id": run,
        "Step-Id": step,
        "Task": task,
        "Workflow": "order",
        "Ticket": f"{step}/4/0",
        "Attempts": "4",
        "Error": "no money",
        "Failure": "retriable",
        **more,
    }
    body = msgspec.json.encode({"ticket": f"{step}/4/0", "nonce": "secret", "input": {"n": 1}})
    headers = tuple((subjects.DLQ_PREFIX + name, value) for name, value in said.items())
    return Append(subjects.dead(task, run, step), body, headers=headers)


async def stored(outside, *letters):
    """Store letters; their sequences."""
    return [each.seq for each in await outside.log.append(letters)]
