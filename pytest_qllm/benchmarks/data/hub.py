"""A dataset of the hub at one commit, through the hub's own cache, so that a copy of that cache serves without network.

``datasets.load_dataset`` is asked for local files only: without network it takes the newest copy that it has ever made
of a repository, whatever revision was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.data.known import HubData, Known
from pytest_qllm.errors import QllmError, UnavailableError

CARD = "README.md"

_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}


def splits(known: Known, hub: HubData, subset: str, *, fetch: bool = True) -> Mapping[str, Any]:
    """The data set's splits from the hub, by the names that the data set has them.

    Raises:
        QllmError: if they cannot be fetched, or the repository has no such files.
    """
    folder, files = snapshot(known, hub, [subset], fetch=fetch)
    found = files[subset]
    if hub.as_published and known.form is not None:
        from datasets import Dataset

        documents = known.form(folder, subset) or {}
        return {split: Dataset.from_list(documents[split]) for split in found if split in documents}
    return {split: _rows(hub, [str(folder / name) for name in names]) for split, names in found.items()}


def snapshot(
    known: Known, hub: HubData, subsets: Iterable[str], *, fetch: bool = True
) -> tuple[Path, dict[str, dict[str, list[str]]]]:
    """The local copy of the commit, and its files by subset and split; fetched if they are not here and may be.

    Raises:
        QllmError: in one line, if they are not here and cannot be fetched.
    """
    wanted = {subset: _patterns(known, hub, subset, fetch=fetch) for subset in subsets}
    patterns = [one for by_split in wanted.values() for found in by_split.values() for one in found]
    folder = _download(hub, patterns, fetch=fetch)
    here = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    files = {
        subset: {split: _matching(here, found) for split, found in by_split.items()}
        for subset, by_split in wanted.items()
    }
    for subset, by_split in files.items():
        if not by_split.get(known.splits[0]):
            raise QllmError(
                f"{known.name}: {hub} has no files for {known.splits[0]}{f' of {subset}' if subset else ''} here; "
                "fetch them with --qllm-fetch on a machine with a network"
            )
    return folder, {
        subset: {split: names for split, names in by_split.items() if names} for subset, by_split in files.items()
    }


def _patterns(known: Known, hub: HubData, subset: str, *, fetch: bool) -> dict[str, list[str]]:
    """Patterns of the repository's files by split: ours, or those of the dataset's card."""
    if hub.files:
        return {split: [pattern.format(subset=subset)] for split, pattern in hub.files.items()}
    from huggingface_hub import DatasetCard

    name = hub.config.format(subset=subset)
    card = _download(hub, [CARD], fetch=fetch) / CARD
    configs = DatasetCard(card.read_text(encoding="utf-8")).data.get("configs") if card.is_file() else None
    config = next((one for one in configs or [] if one.get("config_name") == name), None)
    if config is None:
        raise QllmError(f"{known.name}: the card of {hub} has no configuration {name!r}")
    listed = config.get("data_files") or []
    if not isinstance(listed, list):
        raise QllmError(f"{known.name}: the card of {hub} does not say which files are which split of {name!r}")
    found = {one["split"]: one["path"] for one in listed if isinstance(one, dict)}
    return {
        split: [found[split]] if isinstance(found[split], str) else list(found[split])
        for split in known.splits
        if split in found
    }


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _download(hub: HubData, patterns: list[str], *, fetch: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        raise UnavailableError("data of the hub need libraries: pip install 'pytest-qllm[model]'") from None
    try:
        return Path(
            snapshot_download(
                hub.repo,
                repo_type="dataset",
                revision=hub.revision,
                allow_patterns=patterns,
                local_files_only=not fetch,
            )
        )
    except GatedRepoError:
        raise QllmError(
            f"{hub} asks for its terms to be accepted at https://huggingface.co/datasets/{hub.repo}, then log in with "
            "`hf auth login`"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise QllmError(f"{hub} is not there ({type(error).__name__}); give its files with --qllm-data DIR") from None
    except Exception as error:  # httpx and the hub's library each raise their own for a network that is not there
        raise QllmError(
            f"cannot fetch {hub} ({type(error).__name__}) and it is not in the hub's local cache; connect once (with "
            "--qllm-fetch for all at once), or give its files with --qllm-data DIR"
        ) from None


def _rows(hub: HubData, files: list[str]) -> Any:
    from datasets import Dataset, load_dataset

    endings = {Path(file).suffix for file in files}
    if len(endings) != 1 or not endings <= set(_BUILDERS):
        raise QllmError(f"{hub} has files of the kinds {', '.join(sorted(endings))}; expected one of: {KINDS}")
    rows = load_dataset(_BUILDERS[endings.pop()], data_files=files, split="train")
    if hub.joined is not None:
        return Dataset.from_list(hub.joined(rows))
    if hub.adapt is not None:
        return Dataset.from_list([found for row in rows if (found := hub.adapt(row)) is not None])
    return rows


KINDS = ", ".join(_BUILDERS)
