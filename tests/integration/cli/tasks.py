"""The app that the command line's tests run: one task for each thing that can happen."""

import asyncio
from pathlib import Path

from dagnats import AgentContext, App, Context, Continue, Fail, Retry

app = App("cli-tests")


@app.task
def add(a: int, b: int) -> int:
    """Complete."""
    return a + b


@app.task
def double(x: int) -> int:
    """Complete, after another."""
    return 2 * x


@app.task
def refuse(why: str) -> None:
    """Fail for good, with several lines."""
    raise Fail(f"{why}\nand more on a second line")


@app.task(name="talk")
async def talk(ctx: AgentContext[int], words: list[str]) -> int:
    """Emit tokens."""
    for word in words:
        await ctx.emit(word + " ")
    return len(words)


@app.task(retry=Retry(2, delay="1ms"))
async def stutter(ctx: Context, words: list[str]) -> None:
    """Emit half of the words, fail, and emit them all; the last one is an object."""
    for number, word in enumerate(words):
        if ctx.attempt == 1 and number == len(words) // 2:
            raise OSError("hung up")
        await ctx.emit(word)
    await ctx.emit({"words": len(words)})


@app.agent_loop(max_iterations=10)
async def counter(ctx: AgentContext[int], upto: int) -> int | Continue[int]:
    """Iterate."""
    count = (ctx.checkpoint or 0) + 1
    return count if count >= upto else Continue(count)


@app.task
async def hold(seconds: float) -> str:
    """Take time; cancelled by some tests."""
    await asyncio.sleep(seconds)
    return "held"


@app.workflow
def sums(a: int, b: int) -> int:
    """Two steps in a row."""
    return double(add(a, b))


@app.workflow
def held(seconds: float) -> str:
    """One slow step."""
    return hold(seconds)


@app.task
def fetch(path: str) -> str:
    """Fail for good until the file is there."""
    if not Path(path).exists():
        raise Fail(f"no file {path} yet")
    return Path(path).read_text(encoding="utf-8")


@app.task
def shout(text: str) -> str:
    """Complete, after another."""
    return text.upper()


@app.workflow
def loud(path: str) -> str:
    """A step that may fail, and one after it."""
    return shout(fetch(path))
