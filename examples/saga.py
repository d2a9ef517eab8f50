"""A saga: when the last booking fails, those before it are undone in reverse.

dagnats dev examples/saga.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/saga.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, Fail, RunFailed

app = App("saga")
bookings: list[str] = []


@app.task
async def book(what: str) -> str:
    """A booking."""
    bookings.append(what)
    return what


@app.task
async def cancel_booking(undo: dict) -> str:
    """Undo one: told what to undo, and why."""
    bookings.remove(undo["original_output"])
    return f"{undo['original_output']} cancelled because of {undo['trigger_step']}"


@app.task
async def charge(trip: list[str]) -> str:
    """No money."""
    raise Fail(f"the card was refused for {' and '.join(trip)}")


@app.workflow
def trip(city: str):
    """Flight, hotel, money."""
    flight = book("flight", compensate=cancel_booking)
    hotel = book("hotel", compensate=cancel_booking, after=flight)
    return charge([flight, hotel])


async def main() -> None:
    """It fails, and leaves nothing behind."""
    async with app:
        try:
            await (await trip.start("Lisbon")).result(30)
        except RunFailed as failure:
            print(f"{failure.status}: {failure.reason}")


if __name__ == "__main__":
    asyncio.run(main())
