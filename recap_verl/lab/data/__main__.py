"""python -m recap_verl.lab.data --out DIR: train.parquet, val.parquet, self_prompts.parquet and domains.yaml."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from data_prep.writer import atomic_file, write_parquet
from recap_verl.lab.data import tables

FILES = {
    "train": (tables.train_items, "train"),
    "val": (tables.val_items, "val"),
    "self_prompts": (tables.self_items, "train"),
}


def write(out: Path, seed: int = 0) -> None:
    """Write the files that are not there yet; the same seed gives the same bytes."""
    for name, (items, split) in FILES.items():
        path = out / f"{name}.parquet"
        if not path.exists():
            count = write_parquet(tables.rows(items(seed), split), path)
            print(f"{path}: {count} rows")
    with atomic_file(out / "domains.yaml") as file:
        file.write(yaml.safe_dump(tables.DOMAINS, sort_keys=False).encode())


def main(
    out: Annotated[Path, typer.Option(help="Folder of the files; those that exist are kept.")],
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
) -> None:
    """Draw the data of the study."""
    write(out, seed)


if __name__ == "__main__":
    typer.run(main)
