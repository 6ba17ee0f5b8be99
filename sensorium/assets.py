"""Where pre-trained files are: a path on this machine, or `package:NAME` for a file that an installed package carries.

Packages are looked up in their installation record and never imported, so nothing of theirs runs.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sensorium.errors import ConfigError

PACKAGE = "package:"


def find_file(where: str, *endings: str) -> Path:
    """The one file that `where` names: a file, or the one in a folder or package whose name is or else ends so.

    `where` is a path or `package:NAME`. A `ConfigError` says what was looked for, what was found and what to install.
    """
    if not where:
        raise ConfigError(f"no path is given for a file that ends in {' or '.join(endings)}; set path or weights")
    path = Path(where).expanduser()
    if not where.startswith(PACKAGE) and path.is_file():
        return path
    candidates = _files(where)
    for ending in endings:
        exact = [file for file in candidates if file.name == ending]
        found = exact or [file for file in candidates if file.name.endswith(ending)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:4])
            raise ConfigError(f"{where}: {len(found)} files end in {ending} ({names}); name one of them")
    raise ConfigError(f"{where}: holds no file that ends in {' or '.join(endings)}")


def has_file(where: str, ending: str) -> bool:
    """Whether a folder or package holds a file whose name ends so; false if there is no such place."""
    try:
        return any(file.name.endswith(ending) for file in _files(where))
    except ConfigError:
        return False


def installed(package: str) -> bool:
    """Whether a Python distribution is installed; it is not imported."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def need(module: str, extra: str, what: str) -> None:
    """Raise a `ConfigError` with the command that helps unless Python module `module` is installed."""
    if find_spec(module) is None:
        raise ConfigError(f"{what} needs the package '{module}': pip install 'sensorium[{extra}]'")


def _files(where: str) -> list[Path]:
    if where.startswith(PACKAGE):
        return _package_files(where.removeprefix(PACKAGE))
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{where}: no such file or folder; check the path")
    return sorted(path for path in folder.iterdir() if path.is_file())


def _package_files(name: str) -> list[Path]:
    try:
        record: Any = distribution(name).files
    except PackageNotFoundError:
        raise ConfigError(f"package:{name}: not installed; run pip install --no-deps {name}") from None
    return [path for path in (Path(str(file.locate())) for file in record or ()) if path.is_file()]
