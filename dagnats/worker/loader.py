"""``module``, ``module:app``, a package or a file: finding the app that the command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final

from dagnats.app import App
from dagnats.errors import LoadError

_OURS: Final = str(Path(__file__).parents[1]) + os.sep
_LIBRARY: Final = sysconfig.get_path("stdlib") + os.sep


def load_app(target: str) -> App:
    """The app of ``MODULE[:NAME]`` or ``path/to/file.py[:NAME]``; without a name, the module's only app.

    Raises:
        LoadError: saying what was looked for, and where.
    """
    path, _, name = target.partition(":")
    if not path:
        raise LoadError(
            "name a module: `dagnats worker myproj.tasks`, or a file: `dagnats worker tasks.py`"
        )
    module = _module(path)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, App):
            have = (
                ", ".join(key for key, value in vars(module).items() if isinstance(value, App))
                or "no App"
            )
            what = "does not exist" if found is None else f"is a {type(found).__name__}, not an App"
            raise LoadError(f"{target}: {name} {what}; module {module.__name__} has {have}")
        return found
    apps = list(
        {id(value): value for value in vars(module).values() if isinstance(value, App)}.values()
    )
    if len(apps) == 1:
        return apps[0]
    if not apps:
        where = module.__file__ or "a folder without __init__.py"
        raise LoadError(
            f'module {module.__name__} ({where}) has no App; write `app = App("name")` in it'
        )
    names = ", ".join(
        f"{path}:{key}" for key, value in vars(module).items() if isinstance(value, App)
    )
    raise LoadError(f"module {module.__name__} has {len(apps)} apps; choose one: {names}")


def _module(path: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if path.endswith(".py") or path.startswith(".") or "/" in path or "\\" in path:
        return _from_file(Path(path))
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(f"{error.name}.")):
            raise LoadError(
                f"no module {path}: looked for {path.replace('.', '/')}.py and {path.replace('.', '/')}/__init__.py "
                f"in {here} and on the Python path; run this in your project's folder, or name a file"
            ) from error
        raise _not_imported(f"module {path}", error) from error
    except (Exception, SystemExit) as error:
        raise _not_imported(f"module {path}", error) from error


def _from_file(path: Path) -> ModuleType:
    if path.is_dir():
        path = path.resolve() / "__init__.py"
    if not path.is_file():
        raise LoadError(f"no file {path}; looked in {Path.cwd()}")
    file = path.resolve()
    parts = [file.stem] if file.stem != "__init__" else []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    existing = sys.modules.get(name)
    if existing is not None and getattr(existing, "__file__", None) == str(file):
        return existing
    try:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise LoadError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except LoadError:
        raise
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _not_imported(str(path), error) from error
    return module


def _not_imported(what: str, error: BaseException) -> LoadError:
    """What importing a user's module raised, and the innermost line outside of DagNats and the library."""
    place = ""
    if not isinstance(error, SyntaxError):  # that one names its line itself
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame)]
        place = f" ({_shown(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return LoadError(f"{what} cannot be imported: {type(error).__name__}: {error}{place}")


def _is_users(frame: traceback.FrameSummary) -> bool:
    file = frame.filename
    return not file.startswith(("<", _OURS, _LIBRARY)) and "site-packages" not in file


def _shown(file: str) -> str:
    here = Path.cwd()
    return str(Path(file).relative_to(here)) if Path(file).is_relative_to(here) else file
