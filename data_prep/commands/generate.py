"""`python -m data_prep quickstart|reasoning-gym`: text tasks, drawn instead of converted."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from data_prep.commands.convert import save_domains
from data_prep.commands.ending import one_sentence_errors
from data_prep.rows import SPLITS
from data_prep.writer import write_parquet

GENERATED = {
    "quickstart": "data_prep.text_tasks",
    "reasoning-gym": "data_prep.reasoning_gym",
}


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


def generate_command(module_path: str) -> Callable[..., None]:
    """The command that writes DIR/train.parquet, val.parquet, test.parquet and domains.yaml."""

    def generate(
        out: Annotated[Path, typer.Option(help="Folder to write the parquet files and domains.yaml to.")],
        tasks: Annotated[str, typer.Option(help="Tasks, separated by commas, the target first.")] = "",
        limit: Annotated[int, typer.Option(min=1, help="Training rows of each task, at most.")] = 512,
        val_limit: Annotated[int, typer.Option(min=1, help="Validation and test rows of each task, at most.")] = 32,
        seed: Annotated[int, typer.Option(help="Seed of which rows are drawn, and of their order.")] = 0,
    ) -> None:
        module = importlib.import_module(module_path)
        names = tuple(dict.fromkeys(filter(None, tasks.split(",")))) or module.DEFAULT_TASKS
        with one_sentence_errors(resumes=False):
            for split in SPLITS:
                path = out / f"{split}.parquet"
                count = write_parquet(module.rows(split, names, seed, limit if split == "train" else val_limit), path)
                print(f"{path}: {count} rows")
            save_domains(domains_config(module, names), out)

    return generate
