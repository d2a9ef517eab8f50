"""What a step is and does beyond its task, in a few words: for trees, graphs and Mermaid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from dagnats.core import durations
from dagnats.core.matching import write_match
from dagnats.core.model import (
    ApprovalConfig,
    CancelOn,
    ChildConfig,
    Condition,
    EventConfig,
    EventMatch,
    LoopConfig,
    MapConfig,
    PlannerConfig,
    RespondConfig,
    SignalConfig,
    SleepConfig,
    Step,
)

# How Mermaid draws a kind: who works, who waits, what is asked, what runs elsewhere.
SHAPES: Final[dict[str, tuple[str, str]]] = {
    "agent_loop": ('(["', '"])'),
    "planner": ('[/"', '"\\]'),
    "map": ('[["', '"]]'),
    "approval": ('{{"', '"}}'),
    "sleep": ('("', '")'),
    "wait_for_event": ('>"', '"]'),
    "wait_for_signal": ('>"', '"]'),
    "sub_workflow": ('[("', '")]'),
    "respond": ('[\\"', '"/]'),
}
PLAIN: Final = ('["', '"]')


def words_of(step: Step) -> Iterator[str]:
    """What to say of a step: its kind's settings, then what any step may have."""
    config: Any = step.config
    if config is not None:
        yield from _CONFIGS[type(config)](config)
    elif step.kind != "task":
        yield step.kind.replace("_", " ")
    if step.retry and step.retry.attempts > 1:
        yield f"{step.retry.attempts} attempts"
    if step.timeout_ms:
        yield f"timeout {durations.text_of_ms(step.timeout_ms)}"
    for word, condition in (("skipped if", step.skip_if), ("only when", step.when)):
        if condition:
            yield f"{word} {_compared(condition)}"


def watch_line(watch: CancelOn) -> str:
    """An event that cancels the run, as a line."""
    limit = f" within {durations.text_of_ms(watch.timeout_ms)}" if watch.timeout_ms else ""
    return f"cancelled by event {watch.event}{_matched(watch.match)}{limit}"


def _compared(condition: Condition) -> str:
    place = ".".join(part for part in (condition.step or "input", condition.field) if part)
    return f"{place} {condition.op} {json_text(condition.value)}"


def json_text(value: Any) -> str:
    """A value for reading: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _loop(config: LoopConfig) -> Iterator[str]:
    yield f"agent loop, at most {config.max_iterations} iterations"
    if config.max_duration_ms:
        yield f"within {durations.text_of_ms(config.max_duration_ms)}"


def _map(config: MapConfig) -> Iterator[str]:
    yield f"map, at most {config.max_items} items"
    if config.concurrency:
        yield f"{config.concurrency} at once"
    if config.tolerate or config.tolerate_percent:
        yield f"{config.tolerate or f'{config.tolerate_percent:g}%'} may fail"
    if config.loop:
        yield from _loop(config.loop)


def _planner(config: PlannerConfig) -> Iterator[str]:
    yield f"planner, at most {config.max_steps} steps"
    if config.max_depth:
        yield f"at most {config.max_depth} in a row"
    if config.allowed_tasks:
        yield f"of {', '.join(config.allowed_tasks)}"
    if config.preview:
        yield f"plans are {_decided(config.preview)}"


def _approval(config: ApprovalConfig) -> Iterator[str]:
    asked = f' "{config.description}"' if config.description else ""
    yield f"approval{asked}"
    yield _decided(config)
    if config.form is not None:
        yield "with a form"


def _decided(config: ApprovalConfig) -> str:
    people = f"by {config.quorum} people " if config.quorum > 1 else ""
    return f"approved {people}within {durations.text_of_ms(config.timeout_ms)}"


def _sleep(config: SleepConfig) -> Iterator[str]:
    if config.cron:
        yield f"sleep until cron {config.cron} ({config.timezone or 'UTC'})"
    elif config.until_input_path:
        yield f"sleep until input.{config.until_input_path}"
    else:
        yield f"sleep {durations.text_of_ms(config.duration_ms)}"


def _event(config: EventConfig) -> Iterator[str]:
    limit = durations.text_of_ms(config.timeout_ms)
    yield f"event {config.event}{_matched(config.match)} within {limit}"


def _matched(match: EventMatch | None) -> str:
    if match is None:
        return ""
    right = write_match(match)["right"]
    constant = right.get("$literal", right) if isinstance(right, dict) else right
    return f" with {match.left} = {json_text(constant)}"


def _signal(config: SignalConfig) -> Iterator[str]:
    yield f"signal {config.name} within {durations.text_of_ms(config.timeout_ms)}"


def _child(config: ChildConfig) -> Iterator[str]:
    yield f"{'starts' if config.detach else 'runs'} workflow {config.workflow}"


def _respond(config: RespondConfig) -> Iterator[str]:
    yield f"responds {config.status} {config.content_type}"


_CONFIGS: Final[dict[type, Callable[[Any], Iterator[str]]]] = {
    LoopConfig: _loop,
    MapConfig: _map,
    PlannerConfig: _planner,
    ApprovalConfig: _approval,
    SleepConfig: _sleep,
    EventConfig: _event,
    SignalConfig: _signal,
    ChildConfig: _child,
    RespondConfig: _respond,
}
