"""Names of lm-eval's tasks, groups and tags, and their files, without importing it: its own index takes seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.store import Store, digest

_FORMAT = 1
_KEYS = re.compile(r"""^["']?(task|group|tag|include|class)["']?[ ]*:[ ]*(.*(?:\n(?:[ \t-].*)?)*)""", re.MULTILINE)
_PLAIN = re.compile(r"""^["']?([^\s"'#\[\]{}&*!|>%@`,:-][^\s"'#\[\]{},:]*)["']?\s*$""")


@dataclass(frozen=True)
class TaskIndex:
    """What lm-eval calls by a name; files are relative to its ``tasks``.

    Attributes:
        tasks: file of each single task.
        groups: file of each group.
        tags: tasks that have each tag.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def installed(cls, cache: Store) -> TaskIndex:
        """The index of the lm-eval that is installed, made once for each version of it.

        Raises:
            UnavailableError: if there is none.
        """
        root = tasks_folder()
        version = importlib.metadata.version("lm_eval")
        key = digest([_FORMAT, version, str(root), root.stat().st_mtime_ns])
        known = cache.read("lm-eval-tasks", key)
        if known is None:
            cache.progress("listing lm-eval's tasks")
            made = cls.scan(root)
            known = {"tasks": dict(made.tasks), "groups": dict(made.groups), "tags": dict(made.tags)}
            cache.write(known, "lm-eval-tasks", key)
        return cls(**known)

    @classmethod
    def scan(cls, root: Path) -> TaskIndex:
        """Read the names in all task files below a folder, by their lines alone.

        Of two of one name the first counts.
        """
        tasks: dict[str, str] = {}
        groups: dict[str, str] = {}
        tags: dict[str, list[str]] = {}
        for file in sorted(root.rglob("*.yaml"), key=Path.as_posix):
            found = _names(file)
            place = file.relative_to(root).as_posix()
            group, task = found.get("group"), found.get("task")
            if isinstance(group, str) and "class" not in found:
                groups.setdefault(group, place)
            elif isinstance(task, str) and tasks.setdefault(task, place) == place:
                for tag in _listed(found.get("tag")):
                    tags.setdefault(tag, []).append(task)
        return cls(tasks, groups, tags)

    def __iter__(self) -> Iterator[str]:
        yield from self.tasks
        yield from self.groups
        yield from self.tags


def tasks_folder() -> Path:
    """Where lm-eval has its task files.

    Raises:
        UnavailableError: if it is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise UnavailableError("benchmarks need lm-eval: pip install 'pytest-qllm[model]'")
    return Path(spec.origin).parent / "tasks"


def read_task(file: Path, _within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A task file with what it includes, as lm-eval merges them; a ``!function`` is its text, and not imported.

    Raises:
        QllmError: if a file cannot be read, or is no mapping.
    """
    if file in _within:
        raise QllmError(f"{file} includes itself")
    from yaml import YAMLError

    try:
        content = _parsed(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise QllmError(f"cannot read the task file {file}: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise QllmError(f"{file} is no task file in YAML: {line}") from error
    if not isinstance(content, dict):
        raise QllmError(f"{file} is no task file: it has no fields")
    merged: dict[str, Any] = {}
    for one in _listed(content.pop("include", None)):
        included = read_task((file.parent / one).resolve(), (*_within, file))
        included.pop("task_list", None)
        merged.update(included)
    return {**merged, **content}


class Function(str):
    """The name of a function in a task file, as it is written: ``utils.process_docs``."""

    __slots__ = ()


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
        """A safe loader, to which a function is its name."""

    Loader.add_constructor("!function", lambda loader, node: Function(loader.construct_scalar(node)))
    return Loader


def _parsed(text: str) -> Any:
    import yaml

    return yaml.load(text, Loader=_loader())


def _names(file: Path, depth: int = 0) -> dict[str, Any]:
    """What of a task file names it, with what it inherits."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    own = {key: _value(value) for key, value in _KEYS.findall(text)}
    if "include" in own and not ({"task", "tag"} <= set(own)) and depth < 8:
        inherited: dict[str, Any] = {}
        for one in _listed(own["include"]):
            inherited |= _names(file.parent / one, depth + 1)
        own = {**inherited, **own}
    return own


def _value(written: str) -> Any:
    """The value of a field: of most a word, which no parser is needed for."""
    plain = _PLAIN.match(written.strip("\n"))
    if plain:
        return plain[1]
    from yaml import YAMLError

    try:
        return _parsed(written)
    except YAMLError:
        return None


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]
