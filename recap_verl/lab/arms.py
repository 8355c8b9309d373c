"""The arms of the study: what each changes, as settings that verl's runs and the fast engine read alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from omegaconf import DictConfig, OmegaConf

CONFIG = resources.files("recap_verl") / "config"
# The domain of the base model's own answers, and its share of a batch where every other domain has one.
SELF_DOMAIN = "self"
SELF_SHARE = 0.5
# Settings of the weights, and of what they act on.
_WEIGHTING = ("scheduler.", "weight_", "mixture_follows_weights")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        about: one line for tables.
        baseline: a file of `recap_verl/config/baseline`; None for RECAP's own defaults.
        recap: keys of the config section `recap` on top of it.
        self_replay: whether the base model's own answers to the probes' prompts are replayed, too.
        weights: objective -> static prior weight, in every domain that carries it.
    """

    about: str
    baseline: str | None = None
    recap: Mapping[str, Any] = field(default_factory=dict)
    self_replay: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)


ARMS = {
    "reasoning_only": Arm("target rows alone", "reasoning_only"),
    "propmix": Arm("shares in proportion to rows", "propmix"),
    "uniform": Arm("equal shares, equal weights", "uniform"),
    "coreset": Arm("replay capped at half of the target's rows", "coreset"),
    "lwf": Arm("uniform, and a KL loss to the base", "lwf"),
    "static": Arm("accuracy and iou at twice the weight of formats", "static", weights={"accuracy": 2.0, "iou": 2.0}),
    "dwa": Arm("dynamic weight average", "dwa"),
    "gdpo_style": Arm("sum of separately normalised advantages", "gdpo_style"),
    "recap_paper": Arm("RECAP by the paper's letter", "paper"),
    "recap_release": Arm("RECAP as in the authors' code", "release"),
    "recap": Arm("RECAP, our defaults"),
    "self_replay": Arm("uniform, and the base's own answers", "uniform", self_replay=True),
    "recap_self_replay": Arm("RECAP, and the base's own answers", self_replay=True),
}


def find_arm(name: str) -> Arm:
    """The arm of that name; ValueError lists those there are."""
    if name not in ARMS:
        raise ValueError(f"no arm is called {name!r}: choose among {', '.join(ARMS)}")
    return ARMS[name]


def recap_section(arm: Arm, changes: Mapping[str, Any] | None = None) -> DictConfig:
    """The config section `recap` of an arm: our defaults, the arm's baseline, its own keys, then `changes`.

    A key that `recap_trainer.yaml` does not have raises an error that names it.
    """
    defaults = OmegaConf.load(CONFIG / "recap_trainer.yaml").recap
    OmegaConf.set_struct(defaults, True)
    parts = [_baseline(arm).get("recap", {}), arm.recap, changes or {}]
    return OmegaConf.merge(defaults, *(OmegaConf.create(dict(part)) for part in parts))


def variant(arm: Arm, changes: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """How the table of results calls changed settings: `steps=50 scheduler.temperature=0.2`; empty for the arm's own.

    Only what differs from the arm's own settings is named, so that one run has one name, whoever asks for it.

    Args:
        changes: keys of the config section `recap`.
        options: fields of `Study` that differ from the study's own.
    """
    own, changed = _flat(recap_section(arm)), _flat(recap_section(arm, changes))
    different = {key: value for key, value in changed.items() if key not in own or own[key] != value}
    return " ".join(f"{key}={_short(value)}" for key, value in sorted({**options, **different}.items()))


def common_part(name: str) -> str:
    """The variant without what tells one way of weighting from another: what both runs of a pair must share."""
    return " ".join(part for part in name.split() if not part.startswith(_WEIGHTING))


def _flat(section: DictConfig) -> dict[str, Any]:
    settings = OmegaConf.to_container(section)
    scheduler = {f"scheduler.{key}": value for key, value in settings.pop("scheduler").items()}
    return {**settings, **scheduler}


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_short(own)}" for key, own in sorted(value.items()))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def kl_factor(arm: Arm) -> float:
    """Factor of the KL loss to the base model, 0 where there is none."""
    actor = OmegaConf.select(_baseline(arm), "actor_rollout_ref.actor")
    return float(actor.kl_loss_coef) if actor is not None and actor.use_kl_loss else 0.0


def _baseline(arm: Arm) -> DictConfig:
    if arm.baseline is None:
        return OmegaConf.create()
    return OmegaConf.load(CONFIG / "baseline" / f"{arm.baseline}.yaml")


def arm_domains(arm: Arm, domains: Mapping[str, Any], self_source: str) -> dict[str, Any]:
    """The study's domains as an arm trains them: with its weights, and with the base's own answers if it has them.

    Args:
        domains: a mapping as in `recap.domains`.
        self_source: data source of the rows that `recap_verl.self_replay` wrote.
    """
    changed = {name: {**spec, "objectives": _weighted(spec, arm.weights)} for name, spec in domains.items()}
    if arm.self_replay:
        changed[SELF_DOMAIN] = {"kind": "sft", "source": "self", "data_sources": [self_source]}
    return changed


def _weighted(spec: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, Any]:
    objectives = spec.get("objectives") or {}
    options = dict(objectives) if isinstance(objectives, Mapping) else dict.fromkeys(objectives)
    return {
        name: {**(own or {}), **({"weight": weights[name]} if name in weights else {})} for name, own in options.items()
    }


def arm_mixture(arm: Arm, mixture: str | Mapping[str, float], trained: list[str]) -> str | dict[str, float]:
    """The mixture with the base's own answers at their share; other mixtures than equal shares stay as they are.

    Args:
        trained: names of the trained domains, `SELF_DOMAIN` included.
    """
    if not arm.self_replay or mixture != "uniform":
        return mixture if isinstance(mixture, str) else dict(mixture)
    return {name: SELF_SHARE if name == SELF_DOMAIN else 1.0 for name in trained}
