"""The reviewer's tools.

Each tool is one struct: its docstring is what the model reads about it, its fields are the
arguments that the model fills in, ``run`` does the work. A wrong call is no failure of the task:
the model is told what was wrong, as the answer, and goes on.
"""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

from examples.code_review.conversation import FINDINGS_MAX, Conversation, clip
from examples.code_review.facts import outline
from examples.code_review.findings import Finding, Severity
from examples.code_review.model import Message, Tool, ToolCall
from examples.code_review.workspace import ToolError, Workspace

#: No answer is longer, nor all answers of one reply together: they go into the checkpoint.
ANSWER_CHARS = 8_000
ANSWERS_CHARS = 24_000
#: More calls than this in one reply are not made.
CALLS_MAX = 16
LISTED_MAX = 120
MATCHES_MAX = 40
PROBLEMS_MAX = 50
LINE_CHARS = 160
CHECK_TIMEOUT_S = 60

#: Bugs rather than taste: pyflakes, bugbear, asyncio, pylint's errors, syntax.
RUFF_RULES = "F,B,ASYNC1,ASYNC2,PLE,E7,E9"
RUFF_EXCEPT = "ASYNC109,ASYNC110"

ShortText = Annotated[str, Meta(max_length=120)]
LongText = Annotated[str, Meta(max_length=600)]


class ToolArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """What every tool is: arguments that know how to run."""

    name: ClassVar[str]

    def run(self, workspace: Workspace) -> str | Finding:
        """Do it, and say what came out."""
        raise NotImplementedError


class ListFiles(ToolArguments, frozen=True):
    """List the Python files under review with their number of lines, the longest first."""

    name: ClassVar[str] = "list_files"

    def run(self, workspace: Workspace) -> str:
        """One line per file: its length, its path."""
        shown = [f"{file.lines:>6} {file.path}" for file in workspace.files[:LISTED_MAX]]
        hidden = len(workspace.files) - len(shown)
        return "\n".join([*shown, *([f"… and {hidden} shorter files"] if hidden else [])])


class ReadFile(ToolArguments, frozen=True):
    """Read lines of a file, numbered; at most 120 at a time."""

    name: ClassVar[str] = "read_file"

    path: str
    start: Annotated[int, Meta(ge=1)] = 1
    lines: Annotated[int, Meta(ge=1, le=120)] = 80

    def run(self, workspace: Workspace) -> str:
        """The lines, as an editor would show them."""
        chosen = workspace.read_lines(self.path)[self.start - 1 : self.start - 1 + self.lines]
        if not chosen:
            raise ToolError(f"{self.path} ends before line {self.start}")
        numbered = enumerate(chosen, self.start)
        return "\n".join(f"{number:>5} {text[:LINE_CHARS]}" for number, text in numbered)


class OutlineFile(ToolArguments, frozen=True):
    """Show a file's functions with their measures, and the lines that deserve a look, as JSON."""

    name: ClassVar[str] = "outline"

    path: str

    def run(self, workspace: Workspace) -> str:
        """The facts of `facts.outline`."""
        try:
            facts = outline(self.path, workspace.read(self.path))
        except (SyntaxError, ValueError, RecursionError) as error:
            raise ToolError(f"{self.path} cannot be parsed: {error}") from error
        return msgspec.json.encode(facts).decode()


class Search(ToolArguments, frozen=True):
    """Find the lines that contain a text, in all files; separate alternatives with |."""

    name: ClassVar[str] = "search"

    text: Annotated[str, Meta(min_length=1, max_length=200)]

    def run(self, workspace: Workspace) -> str:
        """One line per match: ``path:line: text``."""
        wanted = [part for part in self.text.split("|") if part.strip()]
        matches = [
            f"{file.path}:{number}: {line.strip()[:LINE_CHARS]}"
            for file in workspace.files
            for number, line in enumerate(workspace.read_lines(file.path), 1)
            if any(part in line for part in wanted)
        ]
        more = len(matches) - MATCHES_MAX
        tail = [f"… and {more} more matches"] if more > 0 else []
        return "\n".join([*matches[:MATCHES_MAX], *tail]) or f"nothing contains {self.text!r}"


class Check(ToolArguments, frozen=True):
    """Run the linter on one file, or on all of them when no path is given."""

    name: ClassVar[str] = "check"

    path: str = ""

    def run(self, workspace: Workspace) -> str:
        """One line per problem: ``path:line: CODE message``."""
        names = [self.path] if self.path else [file.path for file in workspace.files]
        files = [workspace.resolve(name) for name in names]
        ruff = find_ruff()
        problems = _ruff(ruff, files, workspace) if ruff else _compile(files, workspace)
        more = len(problems) - PROBLEMS_MAX
        tail = [f"… and {more} more problems"] if more > 0 else []
        return "\n".join([*problems[:PROBLEMS_MAX], *tail]) or "no problems"


class RecordFinding(ToolArguments, frozen=True):
    """Put a problem into the report. The line must be the one that shows it."""

    name: ClassVar[str] = "record_finding"

    file: str
    line: int
    severity: Severity
    title: ShortText
    explanation: LongText
    suggestion: LongText

    def run(self, workspace: Workspace) -> Finding:
        """The finding with its line of code, which proves that the place exists."""
        evidence = workspace.line(self.file, self.line)
        if not evidence:
            raise ToolError(f"{self.file}:{self.line} is an empty line; name the one that shows it")
        return Finding(
            self.file,
            self.line,
            self.severity,
            self.title,
            self.explanation,
            self.suggestion,
            evidence[:LINE_CHARS],
        )


_KINDS: dict[str, type[ToolArguments]] = {
    kind.name: kind for kind in (ListFiles, ReadFile, OutlineFile, Search, Check, RecordFinding)
}


def describe(kind: type[ToolArguments]) -> Tool:
    """Tell a model about a tool; the schema of its arguments is derived from the struct."""
    _, schemas = msgspec.json.schema_components([kind], ref_template="{name}")
    schema = schemas[kind.__name__]
    parameters = {key: schema[key] for key in ("type", "properties", "required") if key in schema}
    return Tool(kind.name, (kind.__doc__ or "").strip(), parameters)


TOOLS: tuple[Tool, ...] = tuple(map(describe, _KINDS.values()))


def call_to(arguments: ToolArguments, call_id: str) -> ToolCall:
    """Write a call to a tool as a model would."""
    return ToolCall(call_id, arguments.name, msgspec.json.encode(arguments).decode())


def read_call(call: ToolCall) -> ToolArguments:
    """Read a model's call.

    Raises:
        ToolError: When there is no such tool, or its arguments do not fit.
    """
    kind = _KINDS.get(call.name)
    if kind is None:
        raise ToolError(f"there is no tool {call.name!r}; there are {', '.join(_KINDS)}")
    try:
        return msgspec.json.decode(call.arguments or "{}", type=kind)
    except msgspec.MsgspecError as error:
        raise ToolError(f"the arguments of {call.name} do not fit: {error}") from error


def use_tools(
    conversation: Conversation,
    calls: Iterable[ToolCall],
    workspace: Workspace,
    tell: Callable[[str], object] = lambda _: None,
) -> Conversation:
    """Make the calls, and add each answer, and what was found, to the conversation."""
    room = ANSWERS_CHARS
    for index, call in enumerate(calls):
        answer, findings = _answer(call, workspace, conversation, allowed=index < CALLS_MAX)
        tell(f"{call.name}({summary_of(call)}): {_gist(answer)}")
        answer = clip(answer, min(ANSWER_CHARS, room))
        room -= min(len(answer), room)
        message = Message("tool", answer, tool_call_id=call.id)
        conversation = conversation.add(message, findings=findings)
    return conversation


def summary_of(call: ToolCall) -> str:
    """The arguments of a call on one short line."""
    try:
        fields = msgspec.json.decode(call.arguments or "{}", type=dict[str, object])
    except msgspec.MsgspecError:
        return call.arguments[:60]
    if call.name == RecordFinding.name:
        return f"{fields.get('file')}:{fields.get('line')} {fields.get('title')}"
    return " ".join(str(value) for value in fields.values())[:60]


def find_ruff() -> str | None:
    """Where ruff is installed: on the path, or beside this Python."""
    return shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))


def _answer(
    call: ToolCall, workspace: Workspace, conversation: Conversation, *, allowed: bool
) -> tuple[str, tuple[Finding, ...]]:
    if not allowed:
        return f"error: not done; no more than {CALLS_MAX} calls in one reply", ()
    try:
        result = read_call(call).run(workspace)
    except ToolError as error:
        return f"error: {error}", ()
    if isinstance(result, str):
        return result or "(nothing)", ()
    if len(conversation.findings) >= FINDINGS_MAX:
        return f"error: the report is full ({FINDINGS_MAX} findings); conclude the review", ()
    return f"recorded ({result.severity}) at {result.place}", (result,)


def _gist(answer: str) -> str:
    """What a watcher needs to know of an answer."""
    lines = answer.splitlines()
    if len(lines) == 1 and len(answer) <= LINE_CHARS:
        return answer.partition(" at ")[0] if answer.startswith("recorded") else answer
    return f"{len(lines)} lines" if len(lines) > 1 else f"{len(answer):,} characters"


class _Place(Struct):
    row: int


class _Problem(Struct):
    filename: str
    message: str
    location: _Place
    code: str | None = None


def _ruff(ruff: str, files: list[Path], workspace: Workspace) -> list[str]:
    """Ask ruff, by its own rules rather than the project's, and leaving no cache behind."""
    rules = [f"--select={RUFF_RULES}", f"--ignore={RUFF_EXCEPT}"]
    options = ["--isolated", "--no-cache", "--exit-zero", "--output-format=json"]
    command = [ruff, "check", *options, *rules, "--", *map(str, files)]
    try:
        run = subprocess.run(  # noqa: S603 - the files are inside the workspace
            command, cwd=workspace.root, capture_output=True, timeout=CHECK_TIMEOUT_S, check=True
        )
        problems = msgspec.json.decode(run.stdout, type=list[_Problem])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        raise ToolError(f"ruff did not work: {error}") from error
    return [
        f"{Path(each.filename).relative_to(workspace.root).as_posix()}:{each.location.row}: "
        f"{each.code or 'invalid-syntax'} {each.message.splitlines()[0][:LINE_CHARS]}"
        for each in sorted(problems, key=lambda each: (each.filename, each.location.row))
    ]


def _compile(files: list[Path], workspace: Workspace) -> list[str]:
    """Without ruff: does Python accept the files at all?"""
    problems: list[str] = []
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            name = file.relative_to(workspace.root).as_posix()
            problems.append(f"{name}:{getattr(error, 'lineno', None) or 1}: invalid-syntax {error}")
    return problems
