"""What a trigger is: what it waits for, and what it starts then."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Final, Literal
from urllib.parse import quote

from msgspec import UNSET, Raw, Struct, UnsetType

from dagnats.core.model import ABSENT

Overlap = Literal["allow", "skip", "queue", "cancel-running"]
OVERLAPS: Final = ("allow", "skip", "queue", "cancel-running")
_READABLE_MAX: Final = 100


class Cron(Struct, frozen=True, tag="cron"):
    """A schedule: five fields of cron in a time zone (empty: UTC), or ``@every 10m``.

    ``backfill``: instants that passed while nothing could fire are made up for, the oldest first.
    """

    expression: str
    timezone: str = ""
    backfill: bool = False


class Subject(Struct, frozen=True, tag="subject"):
    """Messages of a NATS subject, which may have wildcards; or external events of a name."""

    subject: str = ""
    event: str = ""


class Webhook(Struct, frozen=True, tag="webhook"):
    """Requests to ``/hooks/<path>``; with a secret they have to be signed."""

    path: str
    secret: str = ""


class Http(Struct, frozen=True, tag="http"):
    """Requests that wait for the answer of the run's respond step."""

    path: str
    method: str = "POST"
    timeout_ms: int = 0
    max_body_bytes: int = 0
    secret: str = ""
    idempotency_header: str = ""
    authentication: Any = None


class External(Struct, frozen=True, tag="external"):
    """Whatever the workers that own its kind notice."""

    kind: str
    config: Any = None


class Debounce(Struct, frozen=True, tag="debounce"):
    """Of events in quick succession only the last starts a run: when none has come for ``period_ms``.

    ``timeout_ms`` bounds how long the first can be held (0: a week). ``key``: a path into the data; each value there
    is held by itself.
    """

    period_ms: int
    timeout_ms: int = 0
    key: str = ""


class Batch(Struct, frozen=True, tag="batch"):
    """Events are collected into a list that starts one run: of ``max_size``, or what there is after ``timeout_ms``."""

    max_size: int
    timeout_ms: int
    key: str = ""


Hold = Debounce | Batch
On = Cron | Subject | Webhook | Http | External


class Trigger(Struct, frozen=True, kw_only=True):
    """One trigger. ``source`` says who keeps it: ``file:<name>``, ``app:<name>``, or nobody.

    ``filter`` is a condition on the data (``core.triggers.filters``). ``input`` is a template over the envelope that
    makes the run's input; without one the run gets the envelope itself. With ``hold`` several events start one run.
    """

    id: str
    workflow: str
    on: On
    enabled: bool = True
    source: str = ""
    overlap: Overlap = "allow"
    filter: str = ""
    input: Any | UnsetType = UNSET
    hold: Hold | UnsetType = UNSET

    @property
    def kind(self) -> str:
        """What its envelopes say it is: ``cron``, ``subject``, ``webhook``, ``http`` or the external kind."""
        return self.on.kind if isinstance(self.on, External) else type(self.on).__name__.lower()


class Fire(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reason to start a run. ``key`` tells it apart from all others of its trigger; ``at_ms`` is its instant.

    It may stand for several ``events`` that were held back, with the same ``group`` (the value at the trigger's key).
    ``note`` says what was unusual about it.
    """

    key: str
    kind: str
    at_ms: int
    data: Raw = ABSENT
    events: int = 0
    group: str = ""
    note: str = ""


@functools.lru_cache(maxsize=4_096)
def entity_of(trigger: str) -> str:
    """Under which id a trigger's facts are in the log: ``trigger=nightly``. No run has such an id."""
    plain = quote(trigger, safe="").replace(".", "%2E").replace("~", "%7E").replace("%", "=")
    if len(plain) > _READABLE_MAX:
        plain = "==" + hashlib.sha256(trigger.encode()).hexdigest()[:32]
    return f"trigger={plain}"


def is_trigger(entity: str) -> bool:
    """Whether facts under this id are a trigger's, and not a run's."""
    return entity.startswith("trigger=")


def fired_run_id(trigger: str, key: str) -> str:
    """The run that a fire starts: the same in every process, so that an instant or a message starts one."""
    return "fired-" + hashlib.sha256(f"{trigger}\x00{key}".encode()).hexdigest()[:26]
