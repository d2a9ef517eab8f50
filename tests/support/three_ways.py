"""Every kind of step, written three ways: calls in a traced function, the builder, a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

from dagnats import (
    App,
    Retry,
    WorkflowBuilder,
    agent,
    approval,
    respond,
    sleep,
    sub_workflow,
    wait_for_event,
    wait_for_signal,
)
from dagnats.builder import condition

app = App("kinds")


class Answer(TypedDict):
    """What a form asks for."""

    ok: bool


FORM = {
    "$ref": "#/$defs/Answer",
    "$defs": {
        "Answer": {
            "title": "Answer",
            "description": "What a form asks for.",
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
        }
    },
}


@app.task
async def draft(goal: str) -> dict[str, Any]:
    """A task like any."""
    return {"goal": goal}


@app.task(retry=Retry(3, jitter=False), timeout="30s")
async def edit(path: str, text: str) -> str:
    """A task with options."""
    return path + text


@app.task
async def fetch(url: str) -> list[str]:
    """A task that gives an array."""
    return [url]


@app.task
async def undo(failure: dict[str, Any]) -> None:
    """What undoes another."""


@app.agent_loop(max_iterations=3)
async def think(item: str) -> str:
    """A loop."""
    return item


@app.planner(allowed_tasks=[edit, "other"], max_steps=5, max_depth=2, preview={"timeout": "1h"})
async def plan(goal: str) -> Any:
    """A planner."""
    return goal


@app.workflow
def child(name: str, size: int = 4) -> Any:
    """A workflow that others run."""
    return edit(name, name)


class Written(NamedTuple):
    """The same steps, three times."""

    traced: Callable[..., Any]
    built: Callable[[WorkflowBuilder], WorkflowBuilder]
    file: list[dict[str, Any]]


WRITTEN: dict[str, Written] = {}
EDIT_RETRY = {
    "max_attempts": 2,
    "strategy": "exponential",
    "initial_delay": "1s",
    "multiplier": 2.0,
}
A = {"id": "draft", "task": "draft"}


def written(
    built: Callable[[WorkflowBuilder], WorkflowBuilder], *file: dict[str, Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The traced function below is the same as these two."""

    def keep(traced: Callable[..., Any]) -> Callable[..., Any]:
        WRITTEN[traced.__name__] = Written(traced, built, list(file))
        return traced

    return keep


@written(
    lambda b: b.planner("plan", task=plan, compensate="undo").task("undo"),
    {
        "id": "plan",
        "task": "plan",
        "type": "planner",
        "compensate": "undo",
        "config": {
            "max_steps": 5,
            "max_depth": 2,
            "allowed_tasks": ["edit", "other"],
            "tasks": {"edit": {"task": "edit", "timeout": "30s", "retry": EDIT_RETRY}},
            "schemas": {
                "edit": {
                    "type": "object",
                    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
                    "required": ["path", "text"],
                    "additionalProperties": False,
                }
            },
            "preview": {"timeout": "1h"},
        },
    },
    {"id": "undo", "task": "undo"},
)
def a_planner(goal: str) -> None:
    """Its decorator says what plans may hold."""
    plan(goal, compensate=undo)


@written(
    lambda b: (
        b.task("fetch")
        .map(
            "edits",
            task=edit,
            after="fetch",
            concurrency=10,
            tolerate="5%",
            retry=2,
            max_items=50,
        )
        .map("think", task=think, input=["a", {"$input": ""}], tolerate=1)
    ),
    {"id": "fetch", "task": "fetch"},
    {
        "id": "edits",
        "task": "edit",
        "type": "map",
        "depends_on": ["fetch"],
        "config": {"max_items": 50, "concurrency": 10, "tolerate": "5%"},
        "timeout": "30s",
        "retry": EDIT_RETRY | {"max_attempts": 1, "jitter": 0.5},
    },
    {
        "id": "think",
        "task": "think",
        "type": "map",
        "input": ["a", {"$input": ""}],
        "config": {"max_items": 1000, "tolerate": 1, "loop": {"max_iterations": 3}},
    },
)
def a_map(goal: str) -> None:
    """Over an array, and over a list that holds a reference; of loops, too."""
    pages = fetch(goal)
    edit.map(pages, concurrency=10, tolerate="5%", max_items=50, retry=2, step_id="edits")
    think.map(["a", goal], tolerate=1)


@written(
    lambda b: (
        b.task("draft")
        .approval(
            "approval", "Publish?", timeout="24h", subject="ops.ask", quorum=2, form=Answer,
            metadata={"desk": "a"}, after="draft", on_failure="undo",
        )
        .task("undo")
        .approval("week", after="approval", input={"$step": "approval", "path": "ok"})
    ),
    A,
    {
        "id": "approval",
        "type": "approval",
        "depends_on": ["draft"],
        "on_failure": "undo",
        "config": {
            "description": "Publish?",
            "timeout": "24h",
            "subject": "ops.ask",
            "quorum": 2,
            "form": FORM,
            "metadata": {"desk": "a"},
        },
    },
    {"id": "undo", "task": "undo"},
    {
        "id": "week",
        "type": "approval",
        "depends_on": ["approval"],
        "input": {"$step": "approval", "path": "ok"},
    },
)  # fmt: skip
def an_approval(goal: str) -> None:
    """With everything, and with nothing."""
    first = draft(goal)
    ok = approval(
        "Publish?", timeout="24h", show=first, subject="ops.ask", quorum=2, form=Answer,
        metadata={"desk": "a"}, on_failure=undo,
    )  # fmt: skip
    approval(show=ok["ok"], step_id="week")


@written(
    lambda b: (
        b.sleep("sleep", "1h")
        .sleep("sleep_2", cron="0 9 * * 1-5", tz="Europe/Berlin", after="sleep")
        .sleep("sleep_3", until="due.at", when=condition("", "kind", "==", "late"))
    ),
    {"id": "sleep", "type": "sleep", "config": {"duration": "1h"}},
    {
        "id": "sleep_2",
        "type": "sleep",
        "depends_on": ["sleep"],
        "config": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
    },
    {
        "id": "sleep_3",
        "type": "sleep",
        "config": {"until_input_path": "due.at"},
        "when": {"field": "kind", "op": "==", "value": "late"},
    },
)
def a_sleep(order: dict[str, Any]) -> None:
    """The three forms."""
    first = sleep("1h")
    sleep(cron="0 9 * * 1-5", tz="Europe/Berlin", after=first)
    late: Any = order
    sleep(until=late.due.at, when=late.kind == "late")


@written(
    lambda b: (
        b.task("draft")
        .wait_for_event(
            "wait_for_event", "paid", match={"order.id": "step.draft.output.id"}, timeout="1h", after="draft"
        )
        .wait_for_event("wait_for_event_2", "x", match={"kind": {"$literal": "order"}})
        .wait_for_event("any", "x", timeout="1m")
    ),
    A,
    {
        "id": "wait_for_event",
        "type": "wait_for_event",
        "depends_on": ["draft"],
        "config": {
            "event": "paid",
            "match": {"left": "order.id", "op": "eq", "right": "step.draft.output.id"},
            "timeout": "1h",
        },
    },
    {
        "id": "wait_for_event_2",
        "type": "wait_for_event",
        "config": {
            "event": "x",
            "match": {"left": "kind", "right": {"$literal": "order"}},
            "timeout": "365d",
        },
    },
    {"id": "any", "type": "wait_for_event", "config": {"event": "x", "timeout": "1m"}},
)  # fmt: skip
def a_wait_for_an_event(goal: str) -> None:
    """Matched with a reference, with a constant, and with nothing."""
    first = draft(goal)
    wait_for_event("paid", match={"order.id": first.id}, timeout="1h")
    wait_for_event("x", match={"kind": "order"})
    wait_for_event("x", timeout="1m", step_id="any")


@written(
    lambda b: b.wait_for_signal("wait_for_signal", "go", timeout="2h").task(
        "edit",
        task=edit,
        after="wait_for_signal",
        input={"path": {"$step": "wait_for_signal", "path": "p"}, "text": ""},
    ),
    {"id": "wait_for_signal", "type": "wait_for_signal", "config": {"name": "go", "timeout": "2h"}},
    {
        "id": "edit",
        "task": "edit",
        "depends_on": ["wait_for_signal"],
        "input": {"path": {"$step": "wait_for_signal", "path": "p"}, "text": ""},
        "timeout": "30s",
        "retry": EDIT_RETRY,
    },
)  # fmt: skip
def a_wait_for_a_signal(_goal: str) -> None:
    """Its data are used."""
    sent = wait_for_signal("go", timeout="2h")
    edit(sent.p, "")


@written(
    lambda b: (
        b.sub_workflow("child", "child", input={"name": {"$input": ""}, "size": 4}, retry=2, compensate="undo")
        .task("undo")
        .sub_workflow("child_2", "child", detach=True, after="child", input={"name": "n", "size": 9})
        .sub_workflow("newsletter", "newsletter", input={"$literal": None})
    ),
    {
        "id": "child",
        "type": "sub_workflow",
        "input": {"name": {"$input": ""}, "size": 4},
        "retry": EDIT_RETRY | {"max_attempts": 1, "jitter": 0.5},
        "compensate": "undo",
        "config": {"workflow": "child"},
    },
    {"id": "undo", "task": "undo"},
    {
        "id": "child_2",
        "type": "sub_workflow",
        "depends_on": ["child"],
        "input": {"name": "n", "size": 9},
        "config": {"workflow": "child", "detach": True},
    },
    {
        "id": "newsletter",
        "type": "sub_workflow",
        "input": {"$literal": None},
        "config": {"workflow": "newsletter"},
    },
)  # fmt: skip
def a_sub_workflow(goal: str) -> None:
    """Waited for, detached, and by its name; defaults are filled in."""
    made: Any = child
    first = made(goal, retry=2, compensate=undo)
    child.detached("n", 9, after=first)
    sub_workflow("newsletter", None)


@written(
    lambda b: (
        b.task("draft")
        .respond(
            "respond", status=202, headers={"x-a": "b"}, content_type="text/plain", after="draft",
            input={"$step": "draft", "path": "goal"},
        )
        .respond("respond_2", input={"$literal": None})
    ),
    A,
    {
        "id": "respond",
        "type": "respond",
        "depends_on": ["draft"],
        "input": {"$step": "draft", "path": "goal"},
        "config": {"status": 202, "headers": {"x-a": "b"}, "content_type": "text/plain"},
    },
    {"id": "respond_2", "type": "respond", "input": {"$literal": None}},
)  # fmt: skip
def a_response(goal: str) -> None:
    """Of a part of an output, and of nothing."""
    first = draft(goal)
    respond(first.goal, status=202, headers={"x-a": "b"}, content_type="text/plain")
    respond()


@written(
    lambda b: (
        b.agent("critic", metadata={"role": "critic"}, input={"q": {"$input": ""}}, timeout="1h")
        .agent("other", group="gpu", after="critic")
    ),
    {
        "id": "critic",
        "task": "critic",
        "type": "agent",
        "metadata": {"role": "critic"},
        "input": {"q": {"$input": ""}},
        "timeout": "1h",
    },
    {"id": "other", "task": "other", "type": "agent", "worker_group": "gpu", "depends_on": ["critic"]},
)  # fmt: skip
def an_agent(goal: str) -> None:
    """With metadata, in the usual group and in another."""
    first = agent("critic", {"q": goal}, metadata={"role": "critic"}, timeout="1h")
    agent("other", group="gpu", after=first)
