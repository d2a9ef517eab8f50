"""Bytes into facts and back: one encoder, one decoder for each shape."""

from __future__ import annotations

import re

import msgspec

from dagnats.core.events import AUTHORS, Event, Fact
from dagnats.errors import CodecError
from dagnats.ports import Delivery, Entry

_facts = msgspec.json.Decoder(Fact)
_encoder = msgspec.json.Encoder()
_SUBJECT = re.compile(r"dagnats\.(fact|task|mark)\.(\d+)\.([A-Za-z0-9_=-]+)\.(.+)\Z")

_ANSWERS = re.compile(r"dagnats\.fact\.\d+\.([A-Za-z0-9_-]+)\.worker\Z")

encode = _encoder.encode


def kind_of(subject: str) -> str:
    """``fact``, ``task`` or ``mark``."""
    return subject.split(".", 2)[1]


def run_of(subject: str) -> str:
    """The run (or other entity) that a subject of the log belongs to; empty when it belongs to none."""
    found = _SUBJECT.match(subject)
    return found[3] if found else ""


def answers_for(subject: str) -> str:
    """The run that a ticket's ``answer_to`` lets a worker answer for; empty when it is no such subject."""
    found = _ANSWERS.match(subject)
    return found[1] if found else ""


def decode_fact(subject: str, payload: bytes) -> Fact:
    """A fact from the log.

    Raises:
        CodecError: it is not JSON, of no known type or shape, or not its author's to write.
    """
    try:
        fact = _facts.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(
            f"the message on {subject} is not a fact that this version knows: {error}; "
            "if a newer DagNats wrote it, upgrade this process"
        ) from error
    author = author_of(subject)
    if AUTHORS[type(fact)] != author:
        raise CodecError(
            f"the message on {subject} is a fact that only a {AUTHORS[type(fact)]} may write"
        )
    return fact


def author_of(subject: str) -> str:
    """Who wrote a fact: what its subject says after the run."""
    found = _SUBJECT.match(subject)
    return found[4].partition(".")[0] if found else ""


def event_of(message: Entry | Delivery) -> Event:
    """The event of a stored fact.

    Raises:
        CodecError: as ``decode_fact``.
    """
    return Event(message.seq, message.at_ms, decode_fact(message.subject, message.payload))


def is_fact(entry: Entry) -> bool:
    """Whether a stored message of a history is a fact (and not a dispatch or a mark)."""
    return kind_of(entry.subject) == "fact"
