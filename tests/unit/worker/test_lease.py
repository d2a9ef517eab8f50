"""Keeping leases beside a loop that is blocked."""

from concurrent.futures import Future

from dagnats.clock import SystemClock
from dagnats.errors import PublishFailed
from dagnats.limits import CANCEL_GRACE_MS
from dagnats.ports import Append, Stored
from dagnats.worker.lease import Held, LeaseKeeper


class Link:
    """Stores what it is given, or fails, as the next of its verdicts says."""

    def __init__(self, *verdicts: bool) -> None:
        self.verdicts = list(verdicts)

    def publish(self, append: Append) -> Future[Stored]:
        """A good verdict is stored at once; else what goes to ``fails`` fails, and the rest stays open."""
        done: Future[Stored] = Future()
        if self.verdicts and self.verdicts.pop(0):
            done.set_result(Stored(1))
        elif append.subject == "fails":
            done.set_exception(PublishFailed("no"))
        return done


def held(subject: str) -> Held:
    """A ticket whose time is long over."""
    return Held("reply", 1.0, lambda: Append(subject, b"{}"))


def keeper(link: Link) -> LeaseKeeper:
    """A keeper that is not started: what its thread does is done by hand."""
    return LeaseKeeper(link, 1_000, SystemClock())  # type: ignore[arg-type]


def test_an_overdue_answer_that_was_stored_is_the_answer():
    """The loop has nothing to report any more."""
    made = keeper(Link(True))
    made.hold("a", held("any"))
    made._answer_overdue(CANCEL_GRACE_MS + 2)

    assert made.release("a") is False


def test_an_overdue_answer_that_was_not_stored_leaves_the_ticket_to_the_loop():
    """Nobody else would answer it, and it would be acknowledged all the same."""
    made = keeper(Link())
    made.hold("a", held("fails"))
    made._answer_overdue(CANCEL_GRACE_MS + 2)

    assert made.release("a") is True


def test_an_overdue_answer_is_tried_again_until_it_is_stored():
    """But not while the try before is open."""
    made = keeper(Link(False, True))
    made.hold("a", held("fails"))
    for _ in range(3):
        made._answer_overdue(CANCEL_GRACE_MS + 2)

    assert made.release("a") is False
    open_one = keeper(Link())
    ticket = held("any")
    open_one.hold("b", ticket)
    open_one._answer_overdue(CANCEL_GRACE_MS + 2)
    first = ticket.answer
    open_one._answer_overdue(CANCEL_GRACE_MS + 3)
    assert ticket.answer is first
    assert open_one.release("b") is True


def test_a_ticket_that_is_delivered_here_again_keeps_its_newest_lease():
    """The first delivery's handle is of no use to the server any more."""
    made = keeper(Link())
    ticket = held("any")
    made.hold("a", ticket)
    made.moved("a", "newer")
    made.moved("unknown", "newer")

    assert ticket.reply == "newer"
