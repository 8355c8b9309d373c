"""Where source rows come from: a data set on the hub, or a local file or folder; always a few rows at a time."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from data_prep.dataset import Dataset, SourceRow
from data_prep.errors import DataError
from data_prep.rows import SPLITS
from data_prep.source.hub import HubSource
from data_prep.source.local import LocalSource


class Source(Protocol):
    """The rows of one split."""

    name: str
    folders: tuple[Path, ...]  # that paths of images are relative to
    missing: tuple[str, ...]  # configurations that were asked for and are not there, where others are

    def fingerprint(self) -> list:
        """JSON value that changes when the rows may have changed."""

    def count(self) -> int | None:
        """How many rows there are, where that is known without reading them."""

    def rows(self, start: int = 0) -> Iterator[SourceRow]:
        """Rows from number `start` on, always in the same order."""


def open_source(
    dataset: Dataset,
    split: str,
    where: str | None = None,
    *,
    configs: tuple[str, ...] = (),
    revision: str | None = None,
    images: Path | None = None,
) -> Source:
    """The source of a split of a data set.

    Args:
        split: one of ours, `val`; or also what the source calls it, `test=testA`.
        where: hub id, or a local file or folder; default the data set's hub id.
        configs: instead of the data set's own.
        images: folder that the paths of images are relative to; default, for local sources, the source's own.

    Raises:
        DataError: no such split, file or folder.
    """
    ours, _, theirs = split.partition("=")
    if ours not in (SPLITS if theirs else dataset.splits) or (ours == "train" and not dataset.trainable):
        raise DataError(
            f"{dataset.name} has no split '{ours}': choose from {', '.join(dataset.splits)}"
            f"{'' if dataset.trainable else '; its licence forbids training'}"
        )
    where = where or dataset.hub
    if not where:
        raise DataError(f"{dataset.name} is on no hub: give its folder with --source")
    configs, theirs = configs or dataset.configs, theirs or dataset.splits[ours]
    if Path(where).exists():
        return LocalSource(
            Path(where),
            theirs,
            configs=configs,
            pattern=dataset.files,
            images=images,
            rows_per_config=dataset.rows_per_config,
        )
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", where):
        return HubSource(
            where,
            theirs,
            configs=configs,
            revision=revision,
            images=images,
            rows_per_config=dataset.rows_per_config,
        )
    raise DataError(f"--source {where} is no file, no folder and no hub id (owner/name)")
