"""A persistent array: changing a few entries copies a few small chunks, whatever the length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar, cast

T = TypeVar("T")

_BITS: Final = 5
_SIZE: Final = 1 << _BITS
_MASK: Final = _SIZE - 1


class Table(Generic[T]):
    """An immutable sequence of chunks of 32. ``replace`` shares what did not change."""

    __slots__ = ("_chunks", "_length")

    def __init__(self, chunks: tuple[tuple[T, ...], ...], length: int) -> None:
        self._chunks = chunks
        self._length = length

    @classmethod
    def of(cls, items: Iterable[T]) -> Table[T]:
        """A table of the items in order."""
        row = tuple(items)
        chunks = tuple(row[start : start + _SIZE] for start in range(0, len(row), _SIZE))
        return cls(chunks, len(row))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> T:
        return self._chunks[position >> _BITS][position & _MASK]

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from chunk

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._chunks == cast("Table[T]", other)._chunks

    def __hash__(self) -> int:
        return hash(self._chunks)

    def __repr__(self) -> str:
        return f"Table({list(self)!r})"

    def extended(self, items: Iterable[T]) -> Table[T]:
        """The table with more entries at its end."""
        row = (*self._chunks[-1], *items) if self._length & _MASK else tuple(items)
        whole = self._chunks[:-1] if self._length & _MASK else self._chunks
        more = tuple(row[start : start + _SIZE] for start in range(0, len(row), _SIZE))
        length = sum(map(len, more)) + len(whole) * _SIZE
        return Table(whole + more, length)

    def replace(self, changes: Mapping[int, T]) -> Table[T]:
        """The table with the entries at some positions changed."""
        if not changes:
            return self
        if len(self._chunks) == 1:
            only = list(self._chunks[0])
            for position, item in changes.items():
                only[position] = item
            return Table((tuple(only),), self._length)
        copies: dict[int, list[T]] = {}
        for position, item in changes.items():
            number = position >> _BITS
            copy = copies.get(number)
            if copy is None:
                copy = copies[number] = list(self._chunks[number])
            copy[position & _MASK] = item
        chunks = list(self._chunks)
        for number, copy in copies.items():
            chunks[number] = tuple(copy)
        return Table(tuple(chunks), self._length)
