"""What commands print reaches its reader whole."""

from __future__ import annotations

import io
import sys

from dagnats.cli.output import emit_json


class Reluctant(io.RawIOBase):
    """Takes seven bytes at a time, as a full pipe does when a write is interrupted."""

    def __init__(self):
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        part = bytes(data[:7])
        self.taken += part
        return len(part)


def test_all_of_it_is_printed_to_an_unbuffered_pipe(monkeypatch):
    """PYTHONUNBUFFERED puts nothing between text and pipe that would write the rest."""
    pipe = Reluctant()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))

    emit_json({"text": "€" * 50})

    assert pipe.taken.decode() == '{"text":"' + "€" * 50 + '"}\n'
