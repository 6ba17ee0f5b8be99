"""One typed configuration system: a config stands beside the part it builds, and the config tree is the module tree.

`Config` is a validated, frozen pydantic model. A `Part` is a thing that a recipe can swap: its *family* (connector,
encoder, ...) is declared once, its *name* is exact and unique there, and its nested `Config` both describes and
builds it. A recipe file, a YAML file and `key=value` on the command line are views of the same tree; every error
names the key, the value and what would be accepted.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sensorium.errors import ConfigError

_FAMILIES: dict[str, dict[str, type[PartConfig]]] = {}
_PACKAGES: dict[str, str] = {}
_SCHEMAS_BEGUN: set[str] = set()
_FILES: dict[str, str] = {}
"""The files of `load_parts`, by the names that their modules have."""
ENTRY_POINTS = "sensorium.parts"


def nearest(word: object, known: Iterable[str]) -> str:
    """A sentence that helps after a wrong name: the close matches, or everything there is."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(map(repr, close))}?" if close else f"choose from: {', '.join(names) or 'nothing'}"
    )


class _Portable:
    """What goes to other processes whole: an object of a class from a file of `load_parts` says so when it is pickled,
    for its module cannot be imported where that file has not been loaded."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        made: Any = super().__reduce_ex__(protocol)
        kind = type(self)
        file = _FILES.get(kind.__module__)
        if file is None or made[0].__name__ != "__newobj__":  # made in a way of its own
            return made
        return _of_file, (file, kind.__module__, kind.__qualname__, *made[1][1:]), *made[2:]


def _of_file(file: str, module: str, name: str, *arguments: Any) -> Any:
    """A new object of a class that a file of parts declares, before its state is set."""
    if module not in sys.modules:
        load_parts(file)
    kind = attrgetter(name)(sys.modules[module])
    return kind.__new__(kind, *arguments)


class Config(_Portable, BaseModel):
    """Base of every config: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [key for key in data if key not in cls.model_fields]
            if unknown:
                hint = nearest(unknown[0], cls.model_fields)
                raise PydanticCustomError(
                    "unknown_key", "unknown key '{key}': {hint}", {"key": unknown[0], "hint": hint}
                )
        return data

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready data from which `from_dict` rebuilds this config exactly."""
        return self.model_dump(mode="json", serialize_as_any=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """Validate plain data; `where` names the file or argument in the error."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, where)) from None

    def override(self, *assignments: str) -> Self:
        """A copy with `key.path=value` assignments applied and validated, values in YAML."""
        return self._assigned(self.to_dict(), assignments)

    @classmethod
    def from_assignments(cls, *assignments: str) -> Self:
        """A config from `key.path=value` assignments alone; those of a required part may begin with its `key=NAME`."""
        required = {key: field.annotation for key, field in cls.model_fields.items() if field.is_required()}
        parts = [key for key, kind in required.items() if isinstance(kind, type) and issubclass(kind, PartConfig)]
        return cls._assigned({key: {"type": ""} for key in parts}, assignments)

    @classmethod
    def changed(cls, data: dict[str, Any], *assignments: str, where: str = "") -> Self:
        """`from_dict` of `data` with assignments applied, which may give what it lacks; `where` is where it comes
        from."""
        return cls._assigned(data, assignments, where)

    @classmethod
    def _assigned(cls, data: dict[str, Any], assignments: Sequence[str], where: str = "") -> Self:
        for number, assignment in enumerate(assignments):
            try:
                _assign(data, assignment, cls)
            except ConfigError:
                # a part that was just swapped has its keys only once it is validated
                before = " ".join(assignments[:number])
                data = cls.from_dict(data, where=before).to_dict()
                _assign(data, assignment, cls)
        return cls.from_dict(data, where=" ".join(filter(None, (where, *assignments))))


class PartConfig(Config):
    """Base of the configs of swappable parts; validation dispatches on `type` within the family."""

    family: ClassVar[str] = ""
    type_name: ClassVar[str] = ""
    part: ClassVar[type[Any]]

    def build(self, **given: Any) -> Any:
        """Make the part this config describes; `given` are the dimensions its neighbours announce."""
        return self.part(self, **given)

    @classmethod
    def example(cls) -> Self | None:
        """A small config of this part for tests and documents: by default the defaults; None if some key has none,
        or if the part cannot be built without files from elsewhere."""
        return None if any(field.is_required() for field in cls.model_fields.values()) else cls()

    def miniature(self) -> Self:
        """The same part with few layers, or reading few samples, for quick checks of a large recipe: by default a
        `depth` of at most 2 and `samples` of at most 8."""
        most = {"depth": 2, "samples": 8}
        return self.model_copy(update={k: min(v, getattr(self, k)) for k, v in most.items() if hasattr(self, k)})

    def narrow(self) -> Self:
        """The same part smaller in what others may depend on (its width, the size of its pictures), for the same
        checks; by default as it is."""
        return self

    def resolved(self) -> Self:
        """This config with everything it names elsewhere (a folder of weights, say) written into it, so that a saved
        model can be rebuilt from its config alone."""
        return self

    def load_pretrained(self, part: Any) -> None:
        """Fill a new part with the pre-trained weights this config names, if it names any."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that would hide what every part's config has: pydantic only warns, and the part is lost."""
        taken = {"type", *PartConfig.__annotations__, *vars(PartConfig), *vars(Config)}
        if hidden := sorted(taken.intersection(cls.model_fields)):
            where = f"{cls.__module__}.{cls.__qualname__}"
            raise ConfigError(f"{where}: a field cannot be called '{hidden[0]}', which every part's config has already")

    @model_validator(mode="wrap")
    @classmethod
    def _dispatch(cls, data: Any, handler: Any) -> Any:
        if isinstance(data, cls) and type(data).type_name:
            return data
        if isinstance(data, str):
            data = {"type": data}
        if not isinstance(data, Mapping) or (cls.type_name and "type" not in data):
            return handler(data)
        data = dict(data)
        name = data.pop("type", None)
        if cls.type_name and name == cls.type_name:
            return handler(data)
        try:
            return find_part(cls.family, name).model_validate(data)
        except ConfigError as error:
            raise PydanticCustomError("unknown_part", "{text}", {"text": str(error)}) from None

    @model_serializer(mode="wrap")
    def _with_type(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        return {"type": self.type_name, **handler(self)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """For editors: a member shows its fields and its `type`, a family all its members and their bare names."""
        if cls.type_name:
            return cls._member_schema(core_schema, handler)
        if cls.family in _SCHEMAS_BEGUN:  # a source that reads another source: pydantic makes this a reference
            return {}
        _SCHEMAS_BEGUN.add(cls.family)
        try:
            names = part_names(cls.family)
            members = [find_part(cls.family, name) for name in names]
            schemas = [member._member_schema(member.__pydantic_core_schema__, handler) for member in members]
        finally:
            _SCHEMAS_BEGUN.remove(cls.family)
        return {"anyOf": [{"enum": names}, *schemas]}

    @classmethod
    def _member_schema(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)
        fields["title"] = f"{cls.family} {cls.type_name}"
        fields["properties"] = {"type": {"const": cls.type_name}} | fields.get("properties", {})
        fields["required"] = list(dict.fromkeys(["type", *fields.get("required", [])]))
        return schema


class Part(_Portable):
    """A swappable thing. Declare a family with `class Connector(Part, family="connector", package=...)` and a member
    with `class MLP(Connector, name="mlp")`; the member's nested `Config` builds it."""

    Config: type[PartConfig] = PartConfig

    def __init_subclass__(cls, *, family: str = "", name: str = "", package: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family:
            _FAMILIES.setdefault(family, {})
            _PACKAGES[family] = package
            cls.Config.family = family
        if name:
            _register(cls, name)


def _register(cls: type[Part], name: str) -> None:
    if "Config" not in vars(cls):
        inherited: Any = cls.Config
        cls.Config = type(
            "Config", (inherited,), {"__module__": cls.__module__, "__qualname__": f"{cls.__name__}.Config"}
        )
    known = _FAMILIES[cls.Config.family]
    other = known.get(name)
    if other is not None and other.part.__qualname__ != cls.__qualname__:
        raise ConfigError(
            f"{cls.Config.family} '{name}' is registered twice: {other.part.__module__} and {cls.__module__}"
        )
    cls.Config.type_name, cls.Config.part = name, cls
    known[name] = cls.Config


@cache
def _discover(family: str) -> None:
    """Import the family's own folder and what third parties announce as entry points, once."""
    package = importlib.import_module(_PACKAGES[family])
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


def load_parts(path: str | Path) -> None:
    """Register the parts that a Python file of the user's declares (the command line's `--parts FILE`)."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"--parts {path}: no such file; give a Python file that declares parts")
    spec = importlib.util.spec_from_file_location(f"sensorium_parts_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--parts {path}: not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    _FILES[spec.name] = str(path.resolve())
    sys.modules[spec.name] = module  # pydantic looks a module's names up there to read annotations
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--parts {path}: {type(error).__name__}: {error}") from error


def part_names(family: str) -> list[str]:
    """The exact names registered in a family."""
    _discover(family)
    return sorted(_FAMILIES[family])


def part_families() -> list[str]:
    return sorted(_FAMILIES)


def find_part(family: str, name: object) -> type[PartConfig]:
    """The config class registered as `name`; a `ConfigError` with the nearest matches if there is none."""
    known = part_names(family)
    if name not in known:
        what = f"unknown {family} '{name}'" if name else f"the {family} has no 'type'"
        raise ConfigError(f"{what}: {nearest(name or '', known)}")
    return _FAMILIES[family][str(name)]


def explain(error: ValidationError, where: str = "") -> str:
    """A pydantic error as lines of: key, what is wrong, the value found."""
    lines, items = [], error.errors()
    for item in items:
        if item["type"] == "too_short" and any(
            item["loc"] == i["loc"][: len(item["loc"])] and i != item for i in items
        ):
            continue  # a list seems too short only because its entries were refused
        key = ".".join(str(part) for part in item["loc"]) or "(top level)"
        text = f"{key}: {item['msg'].removeprefix('Value error, ')}"
        if item["type"] not in ("unknown_key", "unknown_part", "missing", "value_error"):
            text += f" (found {item['input']!r})"
        lines.append(text)
    head = f"in {where}:\n  " if where else ""
    return head + "\n  ".join(lines)


def _assign(data: dict[str, Any], assignment: str, root: type[Config]) -> None:
    """Set one `key.path=value` in plain data; a path that does not exist is an error here, a bad value later."""
    path, equals, value = assignment.partition("=")
    if not equals or not path:
        raise ConfigError(f"'{assignment}' is not an override: write key=value, for example stages.0.lr=3e-4")
    *parents, last = path.split(".")
    node: Any = data
    for depth, key in enumerate(parents):
        node = _child(node, key, ".".join(parents[:depth]) or root.__name__, assignment)
    if isinstance(node, list):
        _child(node, last, ".".join(parents), assignment)
        node[int(last)] = _parse(value, assignment)
    elif isinstance(node, dict):
        is_part = isinstance(node.get(last), dict) and "type" in node[last]
        parsed = _parse(value, assignment)
        node[last] = {"type": parsed} if is_part and isinstance(parsed, str) else parsed
    else:
        raise ConfigError(f"'{assignment}': {'.'.join(parents)} is the value {node!r} and has no key '{last}'")


def _child(node: Any, key: str, where: str, assignment: str) -> Any:
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise ConfigError(f"'{assignment}': {where} has entries 0 to {len(node) - 1}, found '{key}'")
        return node[int(key)]
    if not isinstance(node, dict) or key not in node:
        known = node if isinstance(node, dict) else ()
        raise ConfigError(f"'{assignment}': {where} has no key '{key}': {nearest(key, known)}")
    return node[key]


def _parse(value: str, assignment: str) -> Any:
    """YAML, with the `1e-4` that YAML 1.1 takes for text read as the number everybody means."""
    try:
        parsed = yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"'{assignment}': the value {value!r} is not YAML: {error}") from None
    if isinstance(parsed, str):
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed


C = TypeVar("C", bound=Config)


def load_yaml(path: str | Path, kind: type[C]) -> C:
    """Read and validate a YAML view of a config."""
    try:
        with Path(path).open() as file:
            data = yaml.safe_load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if not isinstance(data, Mapping):
        known = ", ".join(kind.model_fields)
        raise ConfigError(f"{path}: found {type(data).__name__}; expected a mapping of the keys {known}")
    return kind.from_dict(data, where=str(path))
