"""Everything measured or made, on disk: content-addressed, written atomically, made once under a lock."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from pytest_qllm.errors import QllmError


@dataclass(frozen=True)
class Count:
    """Items done, of how many, and items a second of those that were computed here (None: none was yet)."""

    done: int
    total: int
    rate: float | None = None


class Progress(Protocol):
    """Takes a note of what is being done."""

    def __call__(self, what: str, count: Count | None = None, /) -> None: ...


def _unheard(what: str, count: Count | None = None, /) -> None:
    """Takes notes where nobody watches."""


def digest(content: Any) -> str:
    """Hash of anything that JSON can hold; the same for equal content on every machine."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """A directory of measurements, artifacts and prepared items, shared by workers and by runs."""

    def __init__(self, root: Path, progress: Progress = _unheard) -> None:
        self.root = root
        self.progress = progress
        with _told(root):
            root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of that name; the operating system frees it when a process dies."""
        path = self.root / "locks" / f"{name}.lock"
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=1)
            except Timeout:
                self.progress("waiting for another process that is computing the same")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read(self, *parts: str) -> Any | None:
        """The JSON content at a place, or None where there is none or it is damaged (then it is made again)."""
        try:
            envelope = json.loads(self._json(*parts).read_text())
            content = envelope["content"]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            return None
        return content if envelope.get("sha") == digest(content) else None

    def write(self, content: Any, *parts: str) -> None:
        """Put JSON content in place; after a crash it is there whole or not at all."""
        path = self._json(*parts)
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
            try:
                with os.fdopen(handle, "w") as file:
                    json.dump({"sha": digest(content), "content": content}, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def directory(self, *parts: str, make: Callable[[Path], None]) -> Path:
        """A directory that ``make`` fills once; it appears under its name only when it is complete."""
        path = self.root.joinpath(*parts)
        if path.is_dir():
            return path
        with self.lock("-".join(parts)):
            if path.is_dir():
                return path
            with _told(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                # A run that was killed may have left its half-made directory; the lock says that nobody fills it now.
                unfinished = path.parent / f".{path.name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                try:
                    make(unfinished)
                except BaseException:
                    shutil.rmtree(unfinished, ignore_errors=True)
                    raise
                unfinished.rename(path)
        return path

    def digest_of(self, file: Path) -> str:
        """sha256 of a large file, read once for each state of the file.

        The state includes the inode's change time, which no program sets: an edit in place is always seen.
        """
        stat = os.stat(file)
        state = [str(file.resolve()), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        key = digest(state)
        known = self.read("fingerprints", key)
        if known is None:
            known = file_digest(file)
            self.write(known, "fingerprints", key)
        return str(known)

    def place(self, *parts: str) -> Path:
        """Where a content lies, for a user who wants to delete it."""
        return self._json(*parts)

    def _json(self, *parts: str) -> Path:
        return self.root.joinpath(*parts[:-1], f"{parts[-1]}.json")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise
        if full:
            raise QllmError(f"the disk of {path} is full; free some space or choose another --qllm-store") from error
        raise QllmError(f"cannot write {path}: {error.strerror}; choose another --qllm-store") from error
