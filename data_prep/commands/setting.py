"""`python -m data_prep all --setting NAME`: what a setting of the paper takes of each data set."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_prep.commands.by_name import by_name
from data_prep.commands.convert import MaxSide, Out, Processes, progress_bar, save_domains, tell_missing
from data_prep.commands.ending import one_sentence_errors
from data_prep.conversion import Summary, convert
from data_prep.dataset import SETTINGS, Dataset, Use, all_datasets
from data_prep.errors import DataError
from data_prep.source import Source, open_source


@dataclass
class _File:
    """One file of a setting."""

    dataset: Dataset
    use: Use
    split: str
    source: Source | None = None
    written: Summary | None = None

    @property
    def name(self) -> str:
        return f"{self.dataset.name} ({self.split})"

    @property
    def kind(self) -> str:
        return "train" if self.split == "train" else "val"


@dataclass
class _Places:
    """Where data sets are read from: as given by name, or a folder of that name, or their hub."""

    sources: dict[str, str]
    images: dict[str, str]
    folder: Path | None

    def open(self, file: _File) -> Source:
        name = file.dataset.name
        folder = self.folder / name if self.folder else None
        place = self.sources.get(name) or (str(folder) if folder and folder.is_dir() else file.dataset.hub)
        if not place:
            raise DataError(f"it is on no hub: give --source {name}=FOLDER, or --sources with a folder of that name")
        images = self.images.get(name)
        return open_source(file.dataset, file.split, place, images=Path(images) if images else None)


def setting_command(
    setting: Annotated[Literal[SETTINGS], typer.Option(help="Setting of the paper.")],
    out: Out,
    source: Annotated[
        list[str] | None, typer.Option(help="NAME=PLACE: hub id, or local file or folder, of one data set.")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Folder with folders named after data sets; the others come from the hub.")
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER that the paths of images of one data set are relative to.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of each file, at most.")] = None,
    num_proc: Processes = 1,
    max_side: MaxSide = None,
) -> None:
    """Write all data of a setting of the paper: DIR/<data set>/<split>.parquet and DIR/domains.yaml.

    What cannot be read is named in one sentence, and left out; the status is 2 then. The same command goes on from
    there.
    """
    with one_sentence_errors():
        uses = [(each, each.settings[setting]) for each in all_datasets().values() if setting in each.settings]
        files = [_File(dataset, use, split) for dataset, use in uses for split in use.splits]
        names = [dataset.name for dataset, _ in uses]
        places = _Places(by_name("--source", source, names), by_name("--images", images, names), sources)
        # All at once before the first of them takes its hours.
        for file in files:
            with _named(file):
                file.source = places.open(file)
                tell_missing(file.source, f"{file.name}: ")
        for file in files:
            if file.source:
                with _named(file):
                    file.written = _write(file, out / file.dataset.name, limit, num_proc, max_side)
                    print(file.written)
        _finish(files, out)
        if missing := [file.name for file in files if not file.written]:
            raise DataError(
                f"{len(missing)} of {len(files)} files are missing: {', '.join(missing)}; mend what is said of them "
                f"above and run the same command again, it goes on from here"
            )


@contextmanager
def _named(file: _File) -> Iterator[None]:
    """Tell what is wrong with one file, and let the others go on."""
    try:
        yield
    except (DataError, ModuleNotFoundError) as error:
        print(f"data_prep: {file.name}: {error}", file=sys.stderr)


def _write(file: _File, out: Path, limit: int | None, processes: int, max_side: int | None) -> Summary:
    limits = [most for most in (limit, file.use.limit if file.split == "train" else None) if most]
    most = min(limits, default=None)
    with progress_bar(file.name, file.source.count(), most) as progress:
        return convert(
            file.dataset,
            file.split,
            file.source,
            out / f"{file.split}.parquet",
            limit=most,
            processes=processes,
            style=file.use.style,
            max_side=max_side,
            progress=progress,
        )


def _finish(files: list[_File], out: Path) -> None:
    """The domains of what is there, and the two settings of a run that name the files."""
    domains = {}
    for file in filter(lambda each: each.written, files):
        domain = file.dataset.domain(file.use)
        # A domain that is trained on needs rows to train on.
        if file.split == "train" or domain["role"] == "probe":
            domains[file.dataset.name] = domain
    if domains:
        save_domains(domains, out)
    for kind in ("train", "val"):
        paths = [str(file.written.path) for file in files if file.written and file.kind == kind]
        if paths:
            print(f"data.{kind}_files='[{','.join(paths)}]'")
