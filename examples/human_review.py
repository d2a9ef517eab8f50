"""Human review: a draft waits for a person's approval, and the publication for a signal.

dagnats dev examples/human_review.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/human_review.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, approval, wait_for_signal

app = App("human-review")


@app.task
async def draft(topic: str) -> str:
    """Something to look at."""
    return f"All about {topic}"


@app.task
async def publish(text: str, when: str) -> str:
    """What must not happen without a person."""
    return f"published {text!r} {when}"


@app.workflow
def review(topic: str):
    """Asked, and told when."""
    text = draft(topic)
    ok = approval("Publish this?", timeout="24h", show=text, step_id="ok")
    when = wait_for_signal("when", timeout="24h", after=ok)
    return publish(text, when)


async def main() -> None:
    """Both parts: the machine's, and (in the place of `dagnats approval approve`) the person's."""
    async with app:
        client = await app.client()
        handle = await review.start("tea")
        while not (questions := await client.approvals(handle.run_id)):
            await asyncio.sleep(0.05)
        print(f"{questions[0].description} {questions[0].show}")
        await handle.approve("ok", comment="nice", by="ada")
        await handle.signal("when", "tomorrow")
        print(await handle.result(30))


if __name__ == "__main__":
    asyncio.run(main())
