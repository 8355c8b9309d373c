"""`python -m data_prep domains NAME...`: the domains of a run, from the names of its data sets."""

import sys
from typing import Annotated, Literal

import typer
from omegaconf import OmegaConf

from data_prep.commands.by_name import by_name
from data_prep.commands.ending import one_sentence_errors
from data_prep.dataset import ROLES, SETTINGS, Dataset, Use, all_datasets
from data_prep.errors import DataError
from data_prep.prompts import STYLES


def domains_command(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; default all of --setting.")] = None,
    setting: Annotated[Literal[SETTINGS] | None, typer.Option(help="As a setting of the paper has them.")] = None,
    role: Annotated[list[str] | None, typer.Option(help=f"NAME={'|'.join(ROLES)}, instead of its own.")] = None,
    style: Annotated[list[str] | None, typer.Option(help=f"NAME={'|'.join(STYLES)}, as it was converted.")] = None,
) -> None:
    """Print recap.domains for data sets: `domains sat refcoco mathvista > domains.yaml`.

    Without a target among them, the first that is no probe becomes it. Each is a snippet for a run's file as well.
    """
    with one_sentence_errors():
        chosen = _chosen(names, setting)
        roles = {name: dataset.domain(use)["role"] for name, (dataset, use) in chosen.items()}
        roles = _with_target(roles | by_name("--role", role, chosen, ROLES))
        styles = by_name("--style", style, chosen, tuple(STYLES))
        blocks = [_block(dataset, use, roles[name], styles.get(name)) for name, (dataset, use) in chosen.items()]
        print("".join(blocks), end="")


def _chosen(names: list[str] | None, setting: str | None) -> dict[str, tuple[Dataset, Use | None]]:
    """Name -> data set, and what the setting takes of it."""
    known = all_datasets()
    if setting:
        known = {name: each for name, each in known.items() if setting in each.settings}
    names = list(dict.fromkeys(names or (known if setting else ())))
    if not names:
        raise DataError(f"name the data sets, or a --setting: {', '.join(known)}")
    if unknown := [name for name in names if name not in known]:
        of = f"the setting {setting}" if setting else "data_prep"
        raise DataError(f"{of} has no data set {', '.join(map(repr, unknown))}, but {', '.join(known)}")
    return {name: (known[name], known[name].settings[setting] if setting else None) for name in names}


def _with_target(roles: dict[str, str]) -> dict[str, str]:
    if "target" in roles.values():
        return roles
    first = next((name for name, role in roles.items() if role != "probe"), None)
    if first is None:
        print("data_prep: these are probes, which are validated only: a run needs a target as well", file=sys.stderr)
        return roles
    print(f"data_prep: {first} becomes the target, since none of these is one: choose with --role", file=sys.stderr)
    return roles | {first: "target"}


def _block(dataset: Dataset, use: Use | None, role: str, style: str | None) -> str:
    if role != "probe" and "train" not in dataset.splits:
        raise DataError(f"{dataset.name} has no rows to train on, so it can be nothing but a probe: change --role")
    prompts = dataset.prompt_style(use, style)
    domain = dataset.domain(use, style=style, role=role)
    return (
        f"# {dataset.summary}\n# prompts: {prompts}; licence: {dataset.licence}\n"
        f"{OmegaConf.to_yaml({dataset.name: domain})}"
    )
