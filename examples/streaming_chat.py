"""A chat whose answer is streamed while it is made, and survives a model that hangs up.

The model is a fake: it says a prepared answer word by word, and hangs up in the middle of its first try. So
the attempt fails, the next one begins again, and whoever watches is told that the words before are void.

In one terminal (a NATS server, a scheduler and a worker):

    dagnats dev examples/streaming_chat.py

In another:

    python examples/streaming_chat.py "what is a token stream?"

or, with the command line alone:

    dagnats run start answer '"what is a token stream?"'
    dagnats run stream --last
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from dagnats import App, Context, Retry, Superseded

app = App("chat")

ANSWER = (
    "You asked: {question} A token stream is what a handler says while it works. "
    "It is kept for a day, so you may come late, or go on where you were."
)


class HungUp(ConnectionError):
    """The model ended the call before its answer was complete."""


async def ask_model(question: str, *, hangs_up: bool) -> AsyncIterator[str]:
    """The words of an answer, as a model's API would give them."""
    words = ANSWER.format(question=question).split(" ")
    for number, word in enumerate(words):
        if hangs_up and number == len(words) // 2:
            raise HungUp("the model hung up")
        await asyncio.sleep(0.01)
        yield word if number == 0 else " " + word


@app.task(retry=Retry(3, delay="100ms"), timeout="30s")
async def answer(ctx: Context, question: str) -> str:
    """Stream an answer; return it whole, for those who only want the end."""
    said: list[str] = []
    async for word in ask_model(question, hangs_up=ctx.attempt == 1):
        await ctx.emit(word)
        said.append(word)
    return "".join(said)


async def chat(question: str) -> str:
    """Ask, and print the answer while it comes."""
    async with app:
        handle = await answer.start(question)
        async for chunk in handle.stream("answer"):
            if isinstance(chunk, Superseded):
                print("\n(the model hung up; it begins again)")
            else:
                print(chunk.data, end="", flush=True)
        print()
        return await handle.result(timeout=30)


if __name__ == "__main__":
    asyncio.run(chat(" ".join(sys.argv[1:]) or "what is a token stream?"))
