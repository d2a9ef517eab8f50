"""The accounts of a deployment as nats-server reads them: text, no I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from dagnats.jetstream.rights import INSIDE, SERVICES, STREAMS, Grant, rights_of

INSIDE_ACCOUNT: Final = "DAGNATS"
OUTSIDE_ACCOUNT: Final = "DAGNATS_USERS"
# Answers to one request may be many, over as long as it is open; then the server forgets where they go.
_FORGET: Final = "60s"


def accounts_text(grants: Sequence[Grant], captured: Sequence[str]) -> str:
    """``accounts { … }``: who may do what, and what passes from one account to the other."""
    services = (*SERVICES, *captured)
    return "\n".join(
        [
            "# Made by `dagnats auth`, and made anew by it: change nothing here.",
            "accounts {",
            f"  {INSIDE_ACCOUNT} {{",
            "    jetstream: enabled",
            *_users([each for each in grants if each.role in INSIDE], captured),
            "    exports: [",
            *(f'      {{service: {_quoted(each)}, response: stream, threshold: "{_FORGET}"}}' for each in services),
            *(f"      {{stream: {_quoted(each)}}}" for each in STREAMS),
            "    ]",
            "  }",
            f"  {OUTSIDE_ACCOUNT} {{",
            *_users([each for each in grants if each.role not in INSIDE], captured),
            "    imports: [",
            *(_import("service", each) for each in services),
            *(_import("stream", each) for each in STREAMS),
            "    ]",
            "  }",
            "}",
            "",
        ]
    )  # fmt: skip


def _import(what: str, subject: str) -> str:
    return f"      {{{what}: {{account: {INSIDE_ACCOUNT}, subject: {_quoted(subject)}}}}}"


def _users(grants: Sequence[Grant], captured: Sequence[str]) -> list[str]:
    lines = ["    users: ["]
    for grant in grants:
        rights = rights_of(grant, tuple(captured))
        answers = ", allow_responses: true" if rights.answers else ""
        lines += [
            f"      # {grant.name}",
            f"      {{nkey: {grant.public}, permissions: {{",
            "        publish: {allow: [",
            *(f"          {_quoted(each)}" for each in rights.publish),
            "        ]}",
            "        subscribe: {allow: [",
            *(f"          {_quoted(each)}" for each in rights.subscribe),
            f"        ]}}{answers}",
            "      }}",
        ]
    return [*lines, "    ]"]


def _quoted(subject: str) -> str:
    return json.dumps(subject)
