"""python -m recap_verl.lab.base --out DIR: train the base of the study, or keep the one that is there."""

import hashlib
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from recap_verl.domains import Domains
from recap_verl.lab.base import architecture, lessons, training
from recap_verl.lab.base.architecture import build_model, build_processor
from recap_verl.lab.base.training import Schooling, train
from recap_verl.lab.data import tables
from recap_verl.lab.fast.scoring import GREEDY, SAMPLED, validate
from recap_verl.lab.fast.vl_policy import VLPolicy
from recap_verl.lab.model_folder import create_model_folder

ABOUT = "base.json"
MAX_RESPONSE = 32


def settings(schooling: Schooling) -> dict:
    """What decides the weights: how long, with which seed, the code that builds and teaches, and what is taught."""
    digest = hashlib.sha256()
    for file in (architecture, training, lessons):
        digest.update(Path(file.__file__).read_bytes())
    for row in itertools.islice(lessons.lessons(schooling.seed), 200):
        digest.update(json.dumps([row["prompt"], row["extra_info"]]).encode())
        digest.update(b"".join(image["bytes"] for image in row["images"]))
    return {**asdict(schooling), "digest": digest.hexdigest()[:16]}


def make_base(out: Path, schooling: Schooling) -> bool:
    """Train a base into the folder `out`; returns False where it holds one with the same settings.

    Raises:
        FileExistsError: it holds another model.
    """
    about = settings(schooling)
    if (out / "config.json").is_file():
        there = json.loads((out / ABOUT).read_text())["settings"] if (out / ABOUT).is_file() else None
        if there != about:
            raise FileExistsError(
                f"{out} holds a base made with other settings or code: name another --out, or remove it"
            )
        return False
    return create_model_folder(out, lambda folder: _fill(folder, schooling, about))


def _fill(folder: Path, schooling: Schooling, about: dict) -> None:
    processor = build_processor(lessons.texts(schooling.seed))
    policy = VLPolicy.of(processor, build_model(processor.tokenizer, schooling.seed))
    losses = train(policy, schooling)
    processor.save_pretrained(folder)
    policy.model.save_pretrained(folder)
    rows = list(tables.rows(tables.val_items(schooling.seed), "val"))
    generator = torch.Generator().manual_seed(schooling.seed)
    scores = validate(policy, rows, Domains(tables.DOMAINS), generator, MAX_RESPONSE)
    content = {
        "settings": about,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "last_loss": sum(losses[-100:]) / len(losses[-100:]),
        "scores": {"/".join(key): value for key, value in scores.items()},
    }
    (folder / ABOUT).write_text(json.dumps(content, indent=1) + "\n")


def print_scores(folder: Path) -> None:
    """Greedy and sampled scores of a base's validation."""
    scores = json.loads((folder / ABOUT).read_text())["scores"]
    table = Table("data source", "objective", "greedy", "sampled", title=f"Scores of the base in {folder}")
    for key, greedy in scores.items():
        source, decoding, objective = key.rsplit("/", 2)
        if decoding == GREEDY:
            sampled = scores[f"{source}/{SAMPLED}/{objective}"]
            table.add_row(source, objective, f"{greedy:.3f}", f"{sampled:.3f}")
    Console(width=80).print(table)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    steps: Annotated[int, typer.Option(min=1, help="Updates on 64 rows each.")] = Schooling.steps,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and of the lessons.")] = 0,
) -> None:
    """Train the base of the study from scratch."""
    try:
        written = make_base(out, Schooling(steps=steps, seed=seed))
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error
    print(f"{'Wrote' if written else 'Kept'} {out}")
    print_scores(out)


if __name__ == "__main__":
    typer.run(main)
