"""Facts about a Python file, read off its syntax tree: what is there, without an opinion."""

import ast
import re
import warnings
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

SmellKind = Literal[
    "broad_except",
    "mutable_default",
    "assert",
    "blocking_call",
    "dropped_task",
    "dynamic_code",
    "shell",
    "unsafe_load",
    "star_import",
    "naive_time",
]

FUNCTIONS_MAX = 25
SMELLS_MAX = 20

_NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
_BRANCHING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)

#: What a call by this name means. The names are matched as they are written in the code.
_CALLS: dict[str, SmellKind] = {
    "eval": "dynamic_code",
    "exec": "dynamic_code",
    "os.system": "shell",
    "pickle.load": "unsafe_load",
    "pickle.loads": "unsafe_load",
    "yaml.load": "unsafe_load",
    "marshal.loads": "unsafe_load",
    "datetime.utcnow": "naive_time",
    "datetime.datetime.utcnow": "naive_time",
}
#: Calls that stop the whole event loop when they are made inside ``async def``.
_BLOCKING = re.compile(
    r"time\.sleep|subprocess\.(run|call|check_call|check_output)|requests\.\w+|urllib\.request\.urlopen"
)
_SPAWNING = ("asyncio.create_task", "asyncio.ensure_future", "create_task", "ensure_future")


class Function(Struct, frozen=True):
    """The measures of one function."""

    name: str
    line: int
    lines: int
    depth: int
    branches: int
    parameters: int
    documented: bool
    public: bool


class Smell(Struct, frozen=True):
    """A line that deserves a second look."""

    kind: SmellKind
    line: int
    text: str


class Outline(Struct, frozen=True):
    """What a file holds: its functions, the longest first, and the lines to look at."""

    path: str
    lines: int
    functions_total: int
    functions: tuple[Function, ...]
    smells: tuple[Smell, ...]


def outline(path: str, source: str) -> Outline:
    """Read the facts of one file.

    Raises:
        SyntaxError: When it is not Python.
        ValueError: When it holds null bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What Python thinks of the code is not news to us.
        tree = ast.parse(source)
    functions = sorted(_functions(tree), key=lambda each: (-each.lines, each.line))
    smells = sorted(_smells(tree), key=lambda each: (each.line, each.kind))
    return Outline(
        path,
        source.removesuffix("\n").count("\n") + 1,
        len(functions),
        tuple(functions[:FUNCTIONS_MAX]),
        tuple(smells[:SMELLS_MAX]),
    )


def _functions(tree: ast.Module) -> Iterator[Function]:
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, _FUNCTIONS):
                nested = isinstance(parent, _FUNCTIONS)
                yield _measure(node, public=not nested and not node.name.startswith("_"))


def _measure(node: ast.FunctionDef | ast.AsyncFunctionDef, *, public: bool) -> Function:
    own = list(_own_nodes(node))
    every = node.args
    parameters = [*every.posonlyargs, *every.args, *every.kwonlyargs]
    branches = sum(isinstance(each, _BRANCHING) for each in own)
    branches += sum(len(each.cases) for each in own if isinstance(each, ast.Match))
    branches += sum(len(each.values) - 1 for each in own if isinstance(each, ast.BoolOp))
    return Function(
        name=node.name,
        line=node.lineno,
        lines=(node.end_lineno or node.lineno) - node.lineno + 1,
        depth=_depth(node.body),
        branches=branches + 1,
        parameters=sum(each.arg not in {"self", "cls"} for each in parameters),
        documented=ast.get_docstring(node) is not None,
        public=public,
    )


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk everything inside a scope, but not what belongs to the scopes within it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, _SCOPES):
            yield node
            yield from _own_nodes(node)


def _depth(body: list[ast.stmt]) -> int:
    """How deep blocks are nested; an ``elif`` stays on the level of its ``if``."""
    deepest = 0
    for statement in body:
        if not isinstance(statement, _NESTING):
            continue
        inner = [_depth(block) for block in _blocks(statement)]
        chained = getattr(statement, "orelse", [])
        is_elif = (
            isinstance(statement, ast.If) and len(chained) == 1 and isinstance(chained[0], ast.If)
        )
        level = _depth(chained) - 1 if is_elif else _depth(chained)
        deepest = max(deepest, 1 + max([*inner, level], default=0))
    return deepest


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    yield getattr(statement, "body", [])
    yield getattr(statement, "finalbody", [])
    for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
        yield part.body


def _smells(tree: ast.Module) -> Iterator[Smell]:
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            yield from _smells_of_defaults(node)
        if isinstance(node, ast.AsyncFunctionDef):
            yield from _smells_of_coroutine(node)
        yield from _smells_of_node(node)


def _smells_of_node(node: ast.AST) -> Iterator[Smell]:
    match node:
        case ast.ExceptHandler() if _catches_all(node) and not _raises(node):
            yield Smell("broad_except", node.lineno, _named(node.type))
        case ast.Assert():
            yield Smell("assert", node.lineno, ast.unparse(node.test)[:60])
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            yield Smell("star_import", node.lineno, node.module or ".")
        case ast.Call():
            yield from _smells_of_call(node)
        case ast.Expr(value=ast.Call(func=function)) if ast.unparse(function) in _SPAWNING:
            yield Smell("dropped_task", node.lineno, ast.unparse(node)[:60])


def _smells_of_call(call: ast.Call) -> Iterator[Smell]:
    name = ast.unparse(call.func)
    keywords = {each.arg: each.value for each in call.keywords}
    shell = keywords.get("shell")
    if isinstance(shell, ast.Constant) and shell.value is True:
        yield Smell("shell", call.lineno, name)
    safe = name == "yaml.load" and "Safe" in ast.unparse(call)
    if name in _CALLS and not safe:
        yield Smell(_CALLS[name], call.lineno, name)


def _smells_of_defaults(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Smell]:
    for default in (*node.args.defaults, *node.args.kw_defaults):
        if isinstance(default, (ast.List, ast.Dict, ast.Set)):
            yield Smell(
                "mutable_default", default.lineno, f"{node.name}(… = {ast.unparse(default)})"
            )


def _smells_of_coroutine(node: ast.AsyncFunctionDef) -> Iterator[Smell]:
    for each in _own_nodes(node):
        if isinstance(each, ast.Call) and _BLOCKING.fullmatch(ast.unparse(each.func)):
            yield Smell("blocking_call", each.lineno, f"{ast.unparse(each.func)} in {node.name}")


def _catches_all(handler: ast.ExceptHandler) -> bool:
    return _named(handler.type) in {"", "Exception", "BaseException"}


def _named(node: ast.expr | None) -> str:
    return ast.unparse(node) if node is not None else ""


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(each, ast.Raise) for each in _own_nodes(handler))
