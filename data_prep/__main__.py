"""Command line: `python -m data_prep NAME --out DIR`, `python -m data_prep list`."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from omegaconf import OmegaConf

from data_prep import CONVERTERS
from data_prep.rows import SPLITS
from data_prep.writer import write_parquet

app = typer.Typer(help="Convert data sets to verl parquet files.", no_args_is_help=True, pretty_exceptions_enable=False)


def first_line(module) -> str:
    return module.__doc__.splitlines()[0]


@app.command("list")
def list_converters() -> None:
    """Show the data sets and the tasks each takes by default."""
    for name, path in CONVERTERS.items():
        module = importlib.import_module(path)
        print(f"{name}: {first_line(module)}\n    default tasks: {','.join(module.DEFAULT_TASKS)}")


def domains_config(module, tasks: tuple[str, ...]) -> dict:
    """`recap.domains` of the tasks: the first is what a run is for, the others are replayed."""
    return {
        task: {
            "role": "general" if number else "target",
            "data_sources": [module.data_source(task)],
            "objectives": module.OBJECTIVES,
        }
        for number, task in enumerate(tasks)
    }


def convert_command(module_path: str) -> Callable[..., None]:
    """The command that writes DIR/train.parquet, val.parquet, test.parquet and domains.yaml."""

    def convert(
        out: Annotated[Path, typer.Option(help="Folder to write the parquet files and domains.yaml to.")],
        tasks: Annotated[str, typer.Option(help="Tasks, separated by commas, the target first.")] = "",
        limit: Annotated[int, typer.Option(min=1, help="Training rows of each task, at most.")] = 512,
        val_limit: Annotated[int, typer.Option(min=1, help="Validation and test rows of each task, at most.")] = 32,
        seed: Annotated[int, typer.Option(help="Seed of which rows are drawn, and of their order.")] = 0,
    ) -> None:
        module = importlib.import_module(module_path)
        names = tuple(dict.fromkeys(filter(None, tasks.split(",")))) or module.DEFAULT_TASKS
        for split in SPLITS:
            path = out / f"{split}.parquet"
            try:
                count = write_parquet(module.rows(split, names, seed, limit if split == "train" else val_limit), path)
            except (ValueError, ModuleNotFoundError) as error:
                raise typer.BadParameter(str(error)) from error
            print(f"{path}: {count} rows")
        domains = out / "domains.yaml"
        OmegaConf.save(domains_config(module, names), domains)
        print(f"{domains}: recap.domains_file with the target {names[0]}")

    return convert


for _name, _path in CONVERTERS.items():
    app.command(_name, help=f"Write {_name} (module {_path}).")(convert_command(_path))

if __name__ == "__main__":
    app()
