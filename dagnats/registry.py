"""Definitions: by content hash, immutable; and by name, the hash that a new run takes."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
from msgspec import Struct

from dagnats.core.definition import encode_workflow, read_workflow
from dagnats.core.graph import Graph, compile_graph
from dagnats.core.model import Workflow
from dagnats.core.validate import problems_of
from dagnats.errors import DefinitionError
from dagnats.ports import Documents
from dagnats.wire import subjects

_GRAPHS_MAX = 1_000


class Current(Struct, frozen=True):
    """What a name stands for now."""

    name: str
    definition: str
    version: str = "1"


_current = msgspec.json.Decoder(Current)


class Registry:
    """Reads and writes definitions; compiled graphs are kept in memory, most recently used last."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._graphs: OrderedDict[str, Graph] = OrderedDict()
        self._encoded: dict[int, tuple[Workflow, str]] = {}  # by identity: encoding is not cheap

    def cached(self, digest: str) -> Graph | None:
        """The graph of a hash when it is in memory."""
        graph = self._graphs.get(digest)
        if graph is not None:
            self._graphs.move_to_end(digest)
        return graph

    async def graph(self, digest: str) -> Graph | None:
        """The graph of a hash; None when no definition has it or it cannot be read."""
        graph = self.cached(digest)
        if graph is not None:
            return graph
        found = await self._documents.get(f"hash.{digest}")
        if found is None:
            return None
        try:
            workflow, problems = read_workflow(msgspec.json.decode(found[0]))
        except msgspec.DecodeError:
            return None
        if workflow is None or problems or problems_of(workflow):
            return None
        return self._remember(digest, compile_graph(workflow, digest))

    def _remember(self, digest: str, graph: Graph) -> Graph:
        self._graphs[digest] = graph
        while len(self._graphs) > _GRAPHS_MAX:
            self._graphs.popitem(last=False)
        return graph

    async def register(self, workflow: Workflow) -> str:
        """Store a valid definition and make it current; return its hash. Repeating changes nothing."""
        digest = await self.ensure(workflow)
        current = Current(workflow.name, digest, workflow.version)
        key = f"name.{subjects.token(workflow.name)}"
        found = await self._documents.get(key)
        if found is None or _current.decode(found[0]) != current:
            await self._documents.put(key, msgspec.json.encode(current))
        return digest

    async def ensure(self, workflow: Workflow) -> str:
        """Store a definition under its hash, without making it current; return the hash.

        Raises:
            DefinitionError: it cannot run; with every problem.
        """
        known = self._encoded.get(id(workflow))
        if known is not None and known[0] is workflow:
            return known[1]
        digest, body = encode_workflow(workflow)
        if self.cached(digest) is None:
            problems = problems_of(workflow)
            if problems:  # once stored it would meet every scheduler that looks for it
                raise DefinitionError("\n".join(map(str, problems)), problems=problems)
            if await self._documents.get(f"hash.{digest}") is None:
                await self._documents.put(f"hash.{digest}", body)
            self._remember(digest, compile_graph(workflow, digest))
        if len(self._encoded) >= _GRAPHS_MAX:
            self._encoded.clear()
        self._encoded[id(workflow)] = (workflow, digest)
        return digest

    async def current(self, name: str) -> Current | None:
        """What a name stands for now; None when it is not registered."""
        found = await self._documents.get(f"name.{subjects.token(name)}")
        return _current.decode(found[0]) if found else None

    async def names(self) -> list[Current]:
        """Every registered workflow, by name."""
        entries = await self._documents.all()
        rows = [
            _current.decode(value) for key, (value, _) in entries.items() if key.startswith("name.")
        ]
        return sorted(rows, key=lambda row: row.name)

    async def forget(self, name: str) -> bool:
        """Remove a name; definitions stay for the runs that pin them. False when it was not there."""
        if await self.current(name) is None:
            return False
        await self._documents.delete(f"name.{subjects.token(name)}")
        return True
