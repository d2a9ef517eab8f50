"""What the built-in reviewer makes of an answer: one function for each tool it asks.

The thresholds are in one table, the texts about plain smells in another. Facts are not judged
twice: a place that has been recorded is left alone.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from examples.code_review.facts import Function, Outline, Smell, SmellKind
from examples.code_review.findings import Severity
from examples.code_review.memory import MARKERS, Memory, Step, decode_outline
from examples.code_review.tools import (
    Check,
    ListFiles,
    OutlineFile,
    ReadFile,
    RecordFinding,
    Search,
    ToolArguments,
)

LONG_LINES, VERY_LONG_LINES = 60, 100
MANY_BRANCHES, TOO_MANY_BRANCHES = 12, 20
DEEP = 5
MANY_PARAMETERS = 8
SUSPECTS_PER_FILE = 4
LONG_FUNCTIONS_PER_FILE = 2
MARKERS_RECORDED = 5
WINDOW_BEFORE, WINDOW_LINES = 4, 12


class Thought(Struct, frozen=True):
    """What an answer leads to: words, findings, further questions."""

    says: str = ""
    findings: tuple[RecordFinding, ...] = ()
    questions: tuple[ToolArguments, ...] = ()


class Text(Struct, frozen=True):
    """How a smell is reported."""

    severity: Severity
    title: str
    explanation: str
    suggestion: str


_TEXTS: dict[SmellKind, Text] = {
    "mutable_default": Text(
        "high",
        "Mutable default argument",
        "The default is made once and shared: what one call adds, the next one sees.",
        "Use None as the default and make the value inside the function.",
    ),
    "blocking_call": Text(
        "high",
        "Blocking call in a coroutine",
        "Nothing else on the event loop can run until it returns.",
        "Await the asynchronous form, or hand it to asyncio.to_thread.",
    ),
    "dropped_task": Text(
        "medium",
        "Background task that nobody holds",
        "The event loop keeps only a weak reference: the task may vanish, and its error with it.",
        "Keep the task and await it in the end, or use a TaskGroup.",
    ),
    "dynamic_code": Text(
        "medium",
        "Text run as code",
        "Whoever can influence the text can run anything.",
        "Parse what is expected (ast.literal_eval, json) or use a table of functions.",
    ),
    "shell": Text(
        "medium",
        "Command run by a shell",
        "Every special character in an argument is interpreted; a file name can become a command.",
        "Pass the command as a list, without shell=True.",
    ),
    "unsafe_load": Text(
        "medium",
        "Loading data may run code",
        "The format can make objects of any class, so whoever writes the data runs code here.",
        "Use a plain data format, or a safe loader.",
    ),
    "star_import": Text(
        "low",
        "Import of everything",
        "A reader cannot tell where a name comes from; a new name there can hide one here.",
        "Import the names that are used.",
    ),
    "naive_time": Text(
        "low",
        "Time without a time zone",
        "utcnow() gives a naive datetime, which arithmetic and timestamp() take for local time.",
        "Use datetime.now(UTC).",
    ),
}

_DIRECTIVES = re.compile(r"noqa(: *[A-Z]+\d+([, ]+[A-Z]+\d+)*)?|type: ignore(\[.*?\])?|pragma: .*")
_KNOWN_CODES: tuple[tuple[re.Pattern[str], SmellKind], ...] = (
    (re.compile(r"B006"), "mutable_default"),
    (re.compile(r"ASYNC2\d\d"), "blocking_call"),
    (re.compile(r"F403"), "star_import"),
)
_GRAVE_CODES = re.compile(r"invalid-syntax|E9\d\d|F82\d|F63\d|F70\d|PLE\d+")
_MINOR_CODES = re.compile(r"F401|F841|E7\d\d|B007|B011|B904|B905")


def think(step: Step, memory: Memory) -> Thought:
    """Form an opinion on one answer."""
    if step.failed:
        return Thought(
            f"That did not work ({step.tool}: {step.answer[7:120]}); I go on without it."
        )
    match step.tool:
        case ListFiles.name:
            return _about_files(memory)
        case Check.name:
            return _about_checks(step)
        case Search.name if step.arguments["text"] == MARKERS:
            return _about_markers(step)
        case Search.name:
            return _about_callers(step, memory)
        case OutlineFile.name:
            return _about_outline(step, memory)
        case ReadFile.name:
            return _about_lines(step, memory)
    return Thought()


def _about_files(memory: Memory) -> Thought:
    if not memory.listed:
        return Thought("There are no Python files here.")
    longest = max(memory.listed, key=lambda path: memory.listed[path])
    total = sum(memory.listed.values())
    return Thought(
        f"{len(memory.listed)} files, {total:,} lines; the longest is `{longest}` "
        f"with {memory.listed[longest]:,}."
    )


def _about_checks(step: Step) -> Thought:
    found: list[RecordFinding] = []
    for path, line, text in step.places():
        code, _, message = text.partition(" ")
        if code == "F401" and path.endswith("__init__.py"):
            continue  # A package's front door imports in order to export.
        found.append(_report(path, line, _text_for(code, message)))
    if not found:
        return Thought("The checks are clean.")
    return Thought(
        f"The checks report {_count(len(found), 'problem')} worth recording.", tuple(found)
    )


def _text_for(code: str, message: str) -> Text:
    """How a linter's code is reported: in our own words where we have some."""
    kind = next((kind for codes, kind in _KNOWN_CODES if codes.fullmatch(code)), None)
    if kind is not None:
        return _TEXTS[kind]
    severity: Severity = "medium"
    if _GRAVE_CODES.fullmatch(code):
        severity = "high"
    elif _MINOR_CODES.fullmatch(code):
        severity = "low"
    explanation = f"The linter reports {code} for this line."
    suggestion = "Correct the line, or say in a comment why it has to be so."
    return Text(severity, f"{message.rstrip('.')[:100]} ({code})", explanation, suggestion)


def _report(path: str, line: int, text: Text, before: str = "") -> RecordFinding:
    explanation = before + text.explanation
    return RecordFinding(path, line, text.severity, text.title, explanation, text.suggestion)


def _about_markers(step: Step) -> Thought:
    marked = re.compile(rf"#.*\b({MARKERS})\b")
    found = [(path, line, text) for path, line, text in step.places() if marked.search(text)]
    if not found:
        return Thought("No one has left a note for later.")
    findings = (
        RecordFinding(
            path,
            line,
            "low",
            "Work left for later",
            f"A note in the code says that something is still to be done: {text.strip('# ')[:200]}",
            "Do it now, or move it to the issue tracker, where it will be seen.",
        )
        for path, line, text in found[:MARKERS_RECORDED]
    )
    return Thought(f"{_count(len(found), 'note')} for later.", tuple(findings))


def _about_outline(step: Step, memory: Memory) -> Thought:
    facts = decode_outline(step)
    if facts is None:
        return Thought()
    findings = (*_plain_smells(facts, memory), *_wide_functions(facts), *_undocumented(facts))
    suspects = _suspects(facts)
    heavy = [each for each in facts.functions if _is_heavy(each)][:LONG_FUNCTIONS_PER_FILE]
    questions = (
        *(ReadFile(facts.path, _window(each.line), WINDOW_LINES) for each in suspects),
        *(Search(f"{each.name}(") for each in heavy),
    )
    return Thought(_impression(facts, suspects, heavy), findings, questions)


def _impression(facts: Outline, suspects: list[Smell], heavy: list[Function]) -> str:
    says = [
        f"`{facts.path}` has {facts.lines} lines and {_count(facts.functions_total, 'function')}."
    ]
    if heavy:
        names = " and ".join(f"`{each.name}` ({_burden(each)})" for each in heavy)
        says.append(f"Heaviest: {names}. Who depends on that?")
    if suspects:
        lines = ", ".join(str(each.line) for each in suspects)
        says.append(f"Doubts at line {lines}: I read around them before I judge.")
    if not heavy and not suspects:
        says.append("No doubts about its structure.")
    return " ".join(says)


def _plain_smells(facts: Outline, memory: Memory) -> Iterator[RecordFinding]:
    known = {place for _, place in memory.recorded}
    for smell in facts.smells:
        text = _TEXTS.get(smell.kind)
        if text is not None and f"{facts.path}:{smell.line}" not in known:
            yield _report(facts.path, smell.line, text, f"`{smell.text}`: ")


def _wide_functions(facts: Outline) -> Iterator[RecordFinding]:
    for each in facts.functions:
        if each.parameters >= MANY_PARAMETERS:
            yield RecordFinding(
                facts.path,
                each.line,
                "low",
                f"`{each.name}` takes {each.parameters} parameters",
                "A caller has to know them all, and mistakes their order easily.",
                "Group those that travel together into a value of their own.",
            )


def _undocumented(facts: Outline) -> Iterator[RecordFinding]:
    bare = sorted(
        (each for each in facts.functions if each.public and not each.documented),
        key=lambda each: each.line,
    )
    if bare and not _is_test(facts.path):
        names = ", ".join(f"`{each.name}`" for each in bare[:5])
        yield RecordFinding(
            facts.path,
            bare[0].line,
            "low",
            f"Public functions without a docstring: {len(bare)}",
            f"A caller must read the code to know what to expect of {names}.",
            "Say in a sentence what each one does and what it promises.",
        )


def _suspects(facts: Outline) -> list[Smell]:
    """Lines that may be right or wrong; only reading around them tells."""
    broad = [each for each in facts.smells if each.kind == "broad_except"]
    asserts = [each for each in facts.smells if each.kind == "assert"]
    return [*broad[: SUSPECTS_PER_FILE - 1], *([] if _is_test(facts.path) else asserts[:1])]


def _about_lines(step: Step, memory: Memory) -> Thought:
    """Look at the lines around a doubt: a comment that gives a reason settles it."""
    path = step.arguments["path"]
    facts = memory.outline(path)
    suspects = _suspects(facts) if facts else ()
    doubts = (each for each in suspects if _window(each.line) == step.arguments["start"])
    smell = next(doubts, None)
    if smell is None:
        return Thought()
    lines = {
        int(text[:5]): text[6:] for text in step.answer.splitlines() if text[:5].strip().isdigit()
    }
    around = [lines.get(number, "") for number in range(smell.line - 1, smell.line + 3)]
    if any(map(_gives_reason, around)):
        return Thought(f"`{path}:{smell.line}` is as meant: a comment there gives the reason.")
    return Thought(findings=(_judge_doubt(path, smell, lines),))


def _gives_reason(line: str) -> bool:
    """Whether a comment on this line says something: more than a directive or a note for later."""
    comment = _DIRECTIVES.sub("", line.partition("#")[2])
    return len(comment.split()) > 1 and not re.search(rf"\b({MARKERS})\b", comment)


def _judge_doubt(path: str, smell: Smell, lines: dict[int, str]) -> RecordFinding:
    if smell.kind == "assert":
        return RecordFinding(
            path,
            smell.line,
            "low",
            "Check that python -O removes",
            f"`assert {smell.text}` guards nothing when Python runs with -O.",
            "Raise an error if input can break it; if only a bug can, say so in a comment.",
        )
    body = lines.get(smell.line + 1, "").strip()
    silent = body in {"pass", "continue", "...", "return", "return None", "break"}
    caught = smell.text or "everything"
    endless = smell.text in {"", "BaseException"}
    return RecordFinding(
        path,
        smell.line,
        "high" if endless else "medium" if silent else "low",
        f"Catches {caught}" + (" and says nothing" if silent else ""),
        f"The handler goes on with `{body[:80]}`. It also catches mistakes in the code above it, "
        + (
            "and even cancellation and Ctrl-C."
            if endless
            else "which then look like a normal case."
        ),
        "Catch the errors that are expected here, and let the others be seen.",
    )


def _about_callers(step: Step, memory: Memory) -> Thought:
    """Report a heavy function together with the places that depend on it."""
    name = step.arguments["text"].removesuffix("(")
    found = _find_heavy(name, step, memory)
    if found is None:
        return Thought()
    path, function = found
    call = re.compile(rf"(?<!\w)(?<!def ){re.escape(name)}\(")
    callers = [f"`{file}:{line}`" for file, line, text in step.places() if call.search(text)]
    places = _count(len(callers), "place")
    used = (
        f"It is called in {places} ({', '.join(callers[:3])})"
        if callers
        else ("No call by this name was found")
    )
    grave = function.lines >= VERY_LONG_LINES or function.branches >= TOO_MANY_BRANCHES
    finding = RecordFinding(
        path,
        function.line,
        "medium" if grave else "low",
        f"`{name}` does too much at once: {_burden(function)}",
        f"It has {function.lines} lines and {function.branches} branches, "
        f"nested {function.depth} deep. {used}.",
        "Give its parts names: move inner blocks into functions that can be tested alone.",
    )
    return Thought(f"`{name}` is called in {places}.", (finding,))


def _find_heavy(name: str, search: Step, memory: Memory) -> tuple[str, Function] | None:
    """The function that made us search: it stands in the outline of the round before."""
    for step in memory.made("outline"):
        facts = decode_outline(step) if step.round == search.round - 1 else None
        for function in facts.functions if facts else ():
            if function.name == name and _is_heavy(function):
                return step.arguments["path"], function
    return None


def _is_heavy(each: Function) -> bool:
    return each.lines >= LONG_LINES or each.branches > MANY_BRANCHES or each.depth >= DEEP


def _burden(each: Function) -> str:
    """What makes a function heavy, in two words."""
    if each.lines >= LONG_LINES:
        return f"{each.lines} lines"
    if each.branches > MANY_BRANCHES:
        return f"{each.branches} branches"
    return f"{each.depth} levels"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _is_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name == "conftest.py" or "tests/" in f"/{path}"


def _window(line: int) -> int:
    return max(1, line - WINDOW_BEFORE)
