"""``module``, ``module:app``, a package or a file: finding the app that the command line names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from dagnats.app import App
from dagnats.errors import LoadError


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
        raise LoadError(
            f'module {module.__name__} ({module.__file__}) has no App; write `app = App("name")` in it'
        )
    names = ", ".join(
        f"{path}:{key}" for key, value in vars(module).items() if isinstance(value, App)
    )
    raise LoadError(f"module {module.__name__} has {len(apps)} apps; choose one: {names}")


def _module(path: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if path.endswith(".py") or "/" in path or "\\" in path:
        return _from_file(Path(path))
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(f"{error.name}.")):
            raise LoadError(
                f"no module {path}: looked for {path.replace('.', '/')}.py and {path.replace('.', '/')}/__init__.py "
                f"in {here} and on the Python path; run this in your project's folder, or name a file"
            ) from error
        raise LoadError(f"module {path} cannot be imported: {error}") from error
    except Exception as error:
        raise LoadError(
            f"module {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _from_file(path: Path) -> ModuleType:
    if path.is_dir():
        path = path / "__init__.py"
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
    except Exception as error:
        sys.modules.pop(name, None)
        raise LoadError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
