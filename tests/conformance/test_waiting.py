"""``ports.TaskQueue``: what the queue has of a run, and when somebody last took a ticket."""

from tests.conformance.deployments import dispatch, unique
from tests.conformance.test_queue import Hands, send, task

__all__ = ["task"]  # a fixture


async def test_the_tickets_of_a_run_are_known_by_the_ids_of_their_dispatches(
    deployment, outside, run, task
):
    """Also one that a worker has; not those that were removed, and not another run's."""
    second = unique("task")
    for number, of in enumerate((task, task, second)):
        message = dispatch(outside, run, of, msg_id=f"{run}/{number}:dispatch")
        await outside.log.append([message])
    await send(outside, run + "x", second, b"another's")
    hands = [await Hands(outside).open(of, ask=1) for of in (task, second)]
    hands.append(await Hands(outside).open(second, ask=1))
    await deployment.until(lambda: all(each.got for each in hands))

    assert await outside.queue.waiting(run) == {f"{run}/{n}:dispatch" for n in range(3)}
    await outside.queue.done(hands[0].got[0].reply)
    while len(await outside.queue.waiting(run)) != 2:
        await deployment.tick()
    assert await outside.queue.waiting(run) == {f"{run}/{n}:dispatch" for n in (1, 2)}
    await outside.queue.purge_run(run)
    assert await outside.queue.waiting(run) == frozenset()


async def test_when_somebody_last_took_a_ticket(deployment, outside, other, run, task):
    """Nobody ever did; then by the server's clock, whoever asks."""
    assert await other.queue.last_taken_ms(task, "") == 0
    hands = await Hands(outside).open(task)
    assert await other.queue.last_taken_ms(task, "") == 0
    await send(outside, run, task, b"1")
    await deployment.until(lambda: hands.got)

    assert 0 <= await other.queue.last_taken_ms(task, "") - hands.got[0].at_ms < 5_000
