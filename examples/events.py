"""External events: a run waits for the payment of its order, and is cancelled when the order is.

dagnats dev examples/events.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/events.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, CancelOn, RunCancelled, wait_for_event

app = App("events")


@app.task
async def ship(order_id: str, payment: dict) -> str:
    """Only when it is paid."""
    return f"order {order_id} paid with {payment['card']}, shipped"


@app.workflow(cancel_on=[CancelOn("order.cancelled", match={"order": "input"})])
def fulfil(order_id: str):
    """Wait for the event whose ``order`` is this one."""
    payment = wait_for_event("order.paid", match={"order": order_id}, timeout="1d")
    return ship(order_id, payment)


async def main() -> None:
    """One order that is paid, one that is cancelled."""
    async with app:
        client = await app.client()
        paid, cancelled = await fulfil.start("A1"), await fulfil.start("A2")
        await client.publish_event("order.paid", {"order": "A1", "card": "visa"})
        await client.publish_event("order.cancelled", {"order": "A2"})
        print(await paid.result(30))
        try:
            await cancelled.result(30)
        except RunCancelled as reason:
            print(reason.reason)


if __name__ == "__main__":
    asyncio.run(main())
