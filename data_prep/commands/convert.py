"""`python -m data_prep NAME --out DIR`: one data set."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_prep.commands.ending import one_sentence_errors
from data_prep.conversion import convert
from data_prep.dataset import ROLES, Dataset, all_datasets
from data_prep.errors import explain_os_error
from data_prep.prompts import STYLES
from data_prep.source import Source, open_source
from data_prep.writer import atomic_file

Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Processes = Annotated[int, typer.Option("--num-proc", min=1, help="Processes that convert.")]
MaxSide = Annotated[
    int | None, typer.Option(min=28, help="Longer side of an image, in pixels, at most; others are shrunk.")
]
Style = Annotated[Literal[tuple(STYLES)] | None, typer.Option(help="Tags that the prompt asks for.")]


def convert_command(name: str) -> Callable[..., None]:
    """The command that writes DIR/<split>.parquet, <split>.skipped.jsonl and domains.yaml."""

    def command(
        out: Out,
        split: Annotated[list[str] | None, typer.Option(help="Split; or val=theirs, by the source's name.")] = None,
        source: Annotated[str | None, typer.Option(help="Hub id, or local file or folder.")] = None,
        config: Annotated[list[str] | None, typer.Option(help="Configuration of the source.")] = None,
        revision: Annotated[str | None, typer.Option(help="Revision on the hub.")] = None,
        images: Annotated[Path | None, typer.Option(help="Folder that paths of images are relative to.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Rows of each split, at most.")] = None,
        num_proc: Processes = 1,
        max_side: MaxSide = None,
        style: Style = None,
        role: Annotated[Literal[ROLES] | None, typer.Option(help="Role of its domain.")] = None,
    ) -> None:
        with one_sentence_errors():
            dataset = all_datasets()[name]
            for each in split or default_splits(dataset):
                rows = open_source(dataset, each, source, configs=tuple(config or ()), revision=revision, images=images)
                tell_missing(rows)
                ours = each.partition("=")[0]
                with progress_bar(f"{name} {ours}", rows.count(), limit) as progress:
                    summary = convert(
                        dataset,
                        ours,
                        rows,
                        out / f"{ours}.parquet",
                        limit=limit,
                        processes=num_proc,
                        style=style,
                        max_side=max_side,
                        progress=progress,
                    )
                print(summary)
            save_domains({name: dataset.domain(style=style, role=role)}, out)

    return command


def tell_missing(source: Source, label: str = "") -> None:
    """On standard error: the rest is converted, and nobody should take it for all."""
    if source.missing:
        names = ", ".join(source.missing)
        print(f"data_prep: {label}{source.name} lacks the configurations {names}: going on without", file=sys.stderr)


def default_splits(dataset: Dataset) -> list[str]:
    """A probe is never trained on."""
    return [split for split in dataset.splits if split != "train" or dataset.role != "probe"]


@contextmanager
def progress_bar(label: str, total: int | None, limit: int | None) -> Iterator[Callable[[int], None]]:
    """On standard error, where that is a terminal; counts rows of the source."""
    total = min((number for number in (total, limit) if number is not None), default=None)
    columns = (
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.completed:.0f} rows, {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(rows: int) -> None:
            bar.advance(task, rows)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} a second" if speed else "")

        yield advance


def save_domains(domains: dict, out: Path) -> None:
    path = out / "domains.yaml"
    try:
        with atomic_file(path) as file:
            file.write(OmegaConf.to_yaml(OmegaConf.create(domains)).encode())
    except OSError as error:
        raise explain_os_error(error, f"writing {path}") from error
    roles = ", ".join(f"{name} ({domain['role']})" for name, domain in domains.items())
    print(f"{path}: recap.domains_file with {roles}")
