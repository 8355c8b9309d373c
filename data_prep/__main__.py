"""Command line: `python -m data_prep NAME --out DIR`, `list`, `all`, `domains`, `check`."""

import importlib

import typer

from data_prep.commands.check import check_command
from data_prep.commands.convert import convert_command
from data_prep.commands.domains import domains_command
from data_prep.commands.generate import GENERATED, generate_command
from data_prep.commands.setting import setting_command
from data_prep.dataset import all_datasets

app = typer.Typer(help="Convert data sets to verl parquet files.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_converters() -> None:
    """Show the data sets: role, objectives, style of prompts, licence and size; and the text tasks that are drawn."""
    for name, dataset in all_datasets().items():
        sizes = ", ".join(f"{split} {rows:,}" for split, rows in dataset.sizes.items())
        training = "" if dataset.trainable else " (no training)"
        print(f"{name}: {dataset.summary}")
        objectives = ", ".join(dataset.domain()["objectives"])
        print(f"    role: {dataset.role}; objectives: {objectives}; prompts: {dataset.style}")
        print(f"    licence: {dataset.licence}{training}")
        print(f"    rows: {sizes or 'unknown'}; source: {dataset.hub or 'a local folder'}")
        if dataset.settings:
            print(f"    settings: {', '.join(dataset.settings)}")
    for name, path in GENERATED.items():
        module = importlib.import_module(path)
        print(f"{name}: {module.__doc__.splitlines()[0]}\n    default tasks: {','.join(module.DEFAULT_TASKS)}")


app.command("all")(setting_command)
app.command("domains")(domains_command)
app.command("check")(check_command)
for _name, _path in GENERATED.items():
    app.command(_name, help=f"Write {_name} (module {_path}).")(generate_command(_path))
for _name, _dataset in all_datasets().items():
    app.command(_name, help=f"Write {_name}: {_dataset.summary}.")(convert_command(_name))

if __name__ == "__main__":
    app()
