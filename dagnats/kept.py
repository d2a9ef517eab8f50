"""Documents of any size: one that no message can carry lives among the large payloads, and a reference in its place."""

from __future__ import annotations

import hashlib

from msgspec import Raw

from dagnats import payloads
from dagnats.errors import OutsideError, PayloadTooLarge
from dagnats.ports import Outside
from dagnats.wire.codec import encode
from dagnats.wire.messages import BlobRef


async def keep(outside: Outside, bucket: str, key: str, value: bytes) -> None:
    """Store a document; what stood there before is gone, wherever it was."""
    documents = outside.documents(bucket)
    found = await documents.get(key)
    before = payloads.reference(Raw(found[0])) if found else None
    try:
        await documents.put(key, value)
    except PayloadTooLarge:
        # A name that nothing else has: it may be removed.
        name = f"{bucket}/{key}/{hashlib.sha256(value).hexdigest()}"
        await outside.blobs.put(name, value)
        await documents.put(key, encode(BlobRef(name, len(value))))
        if before is not None and before.name == name:
            return
    if before is not None:
        await outside.blobs.delete(before.name)


async def kept(outside: Outside, bucket: str, key: str) -> bytes | None:
    """A document; None when there is none, or it is not there whole."""
    found = await outside.documents(bucket).get(key)
    if found is None:
        return None
    elsewhere = payloads.reference(Raw(found[0]))
    if elsewhere is None:
        return found[0]
    try:
        return await outside.blobs.get(elsewhere.name)
    except OutsideError:
        return None
