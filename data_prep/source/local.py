"""Rows of local files: which files make up a split, and where their images lie."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.dataset import SourceRow
from data_prep.errors import DataError
from data_prep.source.files import READERS, count_rows, read_rows

# Files are found by the split's own name first, then by another name for the same.
_SYNONYMS = ({"train", "training"}, {"validation", "val", "valid", "dev"}, {"test", "testing"})
# What `datasets.save_to_disk` writes about its files.
_NOT_DATA = ("dataset_info.json", "dataset_dict.json", "state.json", "dataset_infos.json")
# Where a folder holds a split twice, as rows and as notes about them, the rows are in the kind named first.
_KINDS = ((".parquet",), (".arrow",), (".jsonl", ".json"), (".csv", ".tsv"))
_SPLIT_WORDS = {*itertools.chain(*_SYNONYMS), "testmini", "testa", "testb"}


class LocalSource:
    """Rows of one split in a file or a folder.

    In a folder, files belong to the split whose name is a word of their path (`data/train-00000-of-00002.parquet`,
    `refcoco_val.json`). Where no file is named after any split, all belong to the one asked for.

    Args:
        configs: folders to read, one after the other, as far as they exist; `missing` are the others.
        pattern: regular expression that a file's name must contain.
        images: folder that paths of images are relative to; default the source's and the file's folder.
        rows_per_config: rows of each configuration's folder, at most.
    """

    def __init__(
        self,
        path: Path,
        split: str,
        *,
        configs: tuple[str, ...] = (),
        pattern: str = "",
        images: Path | None = None,
        rows_per_config: int | None = None,
    ):
        self.name = str(path)
        self.rows_per_config = rows_per_config
        self.split = split
        folders = _folders(path, configs)
        below = folders[0][1] != path
        self.missing = tuple(config for config in configs if below and (config, path / config) not in folders)
        self.files = [(config, file) for config, folder in folders for file in _files(folder, pattern)]
        if path.is_dir():
            chosen = _first_kind(self._of_split(path))
            self.files = [(config, file) for config, file in self.files if file in chosen]
        around = [path if path.is_dir() else path.parent, *(file.parent for _, file in self.files)]
        self.folders = (images,) if images else tuple(dict.fromkeys(around))

    def _of_split(self, path: Path) -> list[Path]:
        words = {file: set(re.split(r"[^a-z0-9]+", str(file.relative_to(path)).lower())) for _, file in self.files}
        split = self.split.lower()
        synonyms = next((group for group in _SYNONYMS if split in group), {split})
        for wanted in ({split}, synonyms):
            if chosen := [file for file in words if words[file] & wanted]:
                return chosen
        if not any(words[file] & _SPLIT_WORDS for file in words):
            return list(words)
        names = ", ".join(sorted(file.name for file in words)[:5])
        raise DataError(
            f"{path} has no file for the split '{self.split}' among {names}: give one with --source FILE, or ask "
            f"with --split for those that are there"
        )

    def fingerprint(self) -> list:
        stats = [(str(file.resolve()), file.stat()) for _, file in self.files]
        files = ([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)
        return [self.split, self.rows_per_config, *files]

    def count(self) -> int | None:
        counts = [count_rows(file) for _, file in self.files]
        return None if None in counts or self.rows_per_config else sum(counts)

    def rows(self, start: int = 0) -> Iterator[SourceRow]:
        if self.rows_per_config is None:
            return self._rows(self.files, start)
        by_config = itertools.groupby(self.files, key=lambda entry: entry[0])
        parts = (
            itertools.islice(self._rows(list(files)), self.rows_per_config if config else None)
            for config, files in by_config
        )
        return itertools.islice(itertools.chain.from_iterable(parts), start, None)

    def _rows(self, files: list[tuple[str, Path]], start: int = 0) -> Iterator[SourceRow]:
        for config, file in files:
            known = count_rows(file)
            if known is not None and known <= start:
                start -= known
                continue
            jump = 0 if known is None else start
            start -= jump
            for values in read_rows(file, jump):
                if start:
                    start -= 1
                else:
                    yield SourceRow(_with_image(values, file), self.name, config, file.name)


def _folders(path: Path, configs: tuple[str, ...]) -> list[tuple[str, Path]]:
    found = [(config, path / config) for config in configs if (path / config).is_dir()]
    return found or [(path.name if path.name in configs else "", path)]


def _files(path: Path, pattern: str) -> list[Path]:
    if path.is_file():
        if path.suffix not in READERS:
            raise DataError(f"{path} is of no readable kind: {', '.join(READERS)}")
        return [path]
    files = sorted(file for file in path.rglob("*") if _is_data(file, path) and re.search(pattern, file.name))
    if not files:
        raise DataError(f"{path} holds no file{f' {pattern!r}' if pattern else ''} of the kinds {', '.join(READERS)}")
    return files


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    return file.suffix in READERS and not hidden and file.name not in _NOT_DATA


def _first_kind(files: list[Path]) -> list[Path]:
    for kind in _KINDS:
        if chosen := [file for file in files if file.suffix in kind]:
            return chosen
    return files


def _with_image(values: dict, file: Path) -> dict:
    """An image folder's `metadata` file names each row's image beside it."""
    if file.stem == "metadata" and "image" not in values and "file_name" in values:
        return {**values, "image": values["file_name"]}
    return values
