"""The deployment's policy: which workflows may use the control plane. One document; changes count at once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dagnats.core.control import NO_POLICY, Policy, policy_problem
from dagnats.errors import InvalidInput
from dagnats.limits import POLICY_NAMES_MAX
from dagnats.ports import Documents

_KEY = "policy"
_policy = msgspec.json.Decoder(Policy)


class Policies:
    """Reads and changes the policy. Without one, nothing is granted."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def read(self) -> Policy:
        """The policy in force."""
        return (await self._found())[0]

    async def grant(self, workflow: str, *, promote: bool = False) -> Policy:
        """Let a workflow use the control plane, and with ``promote`` store definitions for good.

        Raises:
            InvalidInput: the name cannot be one, or the policy is full.
        """
        return await self._change(lambda policy: policy.granting(workflow, promote=promote))

    async def revoke(self, workflow: str, *, only_promote: bool = False) -> Policy:
        """Take that back; fine when it was not granted. What runs already started goes on."""
        return await self._change(
            lambda policy: policy.revoking(workflow, only_promote=only_promote)
        )

    async def begin_with(self, policy: Policy) -> None:
        """What a deployment without a policy begins with.

        Raises:
            InvalidInput: it is none.
        """
        if policy != NO_POLICY:
            await self._documents.swap(_KEY, _encoded(policy), 0)

    async def keep(self, policy: Policy) -> Policy:
        """Have the policy be exactly this one.

        Raises:
            InvalidInput: it is none.
        """
        return await self._change(lambda _: policy)

    async def _found(self) -> tuple[Policy, int]:
        found = await self._documents.get(_KEY)
        if found is None:
            return NO_POLICY, 0
        try:
            return _policy.decode(found[0]), found[1]
        except msgspec.DecodeError:
            return NO_POLICY, found[1]  # what cannot be read grants nothing

    async def _change(self, change: Callable[[Policy], Policy]) -> Policy:
        while True:
            policy, revision = await self._found()
            after = change(policy)
            if after == policy or await self._documents.swap(_KEY, _encoded(after), revision):
                return after


def policy_of(grant: str, promote: str) -> Policy:
    """A policy from two settings: names with commas between."""
    return Policy(_names(grant), _names(promote))


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))


def _encoded(policy: Policy) -> bytes:
    problem = policy_problem(policy)
    if problem:
        raise InvalidInput(f"policy: {problem}")
    if len(policy.grant) > POLICY_NAMES_MAX:
        raise InvalidInput(f"policy: at most {POLICY_NAMES_MAX} workflows can be granted")
    return msgspec.json.encode(policy)
