"""The persistent array."""

from __future__ import annotations

from dagnats.core.table import Table


def test_replacing_shares_the_rest():
    """Changing an entry copies its chunk of 32 and shares the others."""
    table = Table.of(range(100))
    changed = table.replace({40: -1})

    assert changed[40] == -1
    assert table[40] == 40
    shared = [new is old for new, old in zip(changed._chunks, table._chunks, strict=True)]
    assert shared == [True, False, True, True]


def test_replacing_nothing_is_the_same_table():
    """Without changes nothing is copied."""
    table = Table.of(range(3))

    assert table.replace({}) is table


def test_tables_are_values():
    """Tables of equal entries are equal, hash alike and show their entries."""
    one, other = Table.of("abc"), Table.of(list("abc"))

    assert one == other
    assert hash(one) == hash(other)
    assert one != Table.of("abd")
    assert one != ["a", "b", "c"]
    assert repr(one) == "Table(['a', 'b', 'c'])"
    assert len(Table.of(())) == 0
