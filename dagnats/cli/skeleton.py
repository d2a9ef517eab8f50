"""The files of a new project."""

from __future__ import annotations

import shlex
from typing import Final

COMMAND: Final = "dagnats run start article '\"durable agents\"' --watch"

_TASKS: Final = '''"""A task, an agent loop, and a workflow of the two."""

import asyncio

from dagnats import AgentContext, App, Continue, Retry

app = App("NAME")


@app.task(retry=Retry(3, backoff="exponential"), timeout="30s")
async def outline(topic: str) -> list[str]:
    """Runs once; when it fails, twice more."""
    return [f"What {topic} are", f"Why {topic} matter", f"How {topic} recover"]


@app.agent_loop(max_iterations=20, max_duration="10m", timeout="1m")
async def write(ctx: AgentContext[list[str]], headings: list[str]) -> str | Continue[list[str]]:
    """One paragraph an iteration. Kill the worker in between: the next one goes on from here."""
    done = ctx.checkpoint or []
    heading = headings[len(done)]
    for word in f"{heading}: …\\n".split(" "):
        await ctx.emit(word + " ")  # seen at once by everybody who watches
        await asyncio.sleep(0.1)  # here a language model would think
    done = [*done, heading]
    return Continue(done) if len(done) < len(headings) else "\\n".join(done)


@app.workflow(timeout="1h")
def article(topic: str) -> str:
    """Traced once, at import: a call is a step, a value passed on is an edge."""
    return write(outline(topic))
'''

_README: Final = """# NAME

```
dagnats dev tasks.py
```

starts NATS, a scheduler and a worker, and reloads when you save. Then, in another terminal:

```
COMMAND
dagnats run list
dagnats run status --last
```

`tasks.py` has a task, an agent loop and a workflow. `dagnats.toml` has the settings; `dagnats config show` says
which are in force. `dagnats doctor` finds out what is wrong.
"""

_SETTINGS: Final = """# Settings of DagNats for commands in this folder. Each can also come from the environment:
# DAGNATS_URL, DAGNATS_CONCURRENCY and so on. `dagnats config show` lists all of them.

# url = "nats://127.0.0.1:4222"   # where NATS is
# data_dir = ".dagnats"           # where `dagnats dev` and `dagnats serve` keep their data
# concurrency = 50                # handlers at once in a worker process
"""

_IGNORED: Final = ".dagnats/\n__pycache__/\n"


def files(name: str) -> dict[str, str]:
    """Every file of a project of that name, by its path."""
    return {
        "tasks.py": _TASKS.replace("NAME", name),
        "README.md": _README.replace("NAME", name).replace("COMMAND", COMMAND),
        "dagnats.toml": _SETTINGS,
        ".gitignore": _IGNORED,
    }


def next_steps(folder: str) -> str:
    """What to type now."""
    where = shlex.quote(folder)
    return (
        f"made {folder}: tasks.py, dagnats.toml, README.md\n\n"
        f"  cd {where}\n  dagnats dev tasks.py\n\n"
        f"then, in another terminal:\n\n  cd {where}\n  {COMMAND}"
    )
