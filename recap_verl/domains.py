"""Domains: which data a run mixes, and by which objectives each part is judged.

The config section is a mapping of domain names (docs/configuration.md):

    math:
      role: target                      # target | general | probe
      data_sources: [openai/gsm8k]      # values of the parquet column data_source; default: the domain's own name
      kind: rl
      objectives:                       # a list of names, or a mapping with options
        accuracy: {weight: 2.0, timeout: 1.0}
        brevity: {fn: "my_pkg.rewards:brevity", words: 30}

    ocr:
      kind: sft                         # rl | sft: learn the rows' reference answers by next-token loss
      template: "<answer>{}</answer>"   # what the model is to write; default: the reference answer alone
      objectives: [exact_match]         # judge what the model generates in validation

``weight`` is the objective's static prior weight and ``fn`` the function when the objective's name is not a
registered one; every other key is an option of the function. The next-token loss of an sft domain is the objective
``ntp``, which need only be named to give it a weight.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recap_verl.objectives import Objective, acceptable_answers, get_objective

ROLES = ("target", "general", "probe")
KINDS = ("rl", "sft")
# Where the reference answers of an sft domain come from: the data set, or the base model (python -m
# recap_verl.self_replay).
SOURCES = ("data", "self")
WEIGHT_PER = ("objective", "domain_objective")
# The objective of kind: sft, a loss; all others are rewards.
NTP = "ntp"
_DOMAIN_KEYS = ("role", "data_sources", "kind", "objectives")
_SFT_KEYS = ("source", "template")


@dataclass(frozen=True)
class DomainSpec:
    """One domain.

    Attributes:
        name: the config key.
        role: "target" is what the run is for, "general" is replayed against forgetting, "probe" is validated only.
        data_sources: values of the parquet column ``data_source`` that belong to it.
        kind: "rl" trains on the objectives, "sft" on the reference answers by next-token loss.
        objectives: name -> scoring function, in the order of the config; the first is the domain's main score. Those
            of an sft domain judge validation alone.
        weights: name -> static prior weight, default 1; holds `NTP` for an sft domain.
        source: of an sft domain's reference answers, "data" or "self".
        template: text with one ``{}`` for the reference answer.
    """

    name: str
    role: str
    data_sources: tuple[str, ...]
    kind: str
    objectives: Mapping[str, Objective]
    weights: Mapping[str, float]
    source: str = "data"
    template: str = "{}"

    @property
    def is_sft(self) -> bool:
        """Whether its training rows carry reference answers instead of being answered by the model."""
        return self.kind == "sft"

    def reference_answer(self, ground_truth: Any) -> str:
        """What the model is to write for a row of an sft domain: the first acceptable answer, in the template."""
        return self.template.replace("{}", acceptable_answers(ground_truth)[0])

    @property
    def trained_objectives(self) -> tuple[str, ...]:
        """The objectives whose losses make up the training loss; none for a probe."""
        if not self.trained:
            return ()
        return (NTP,) if self.is_sft else tuple(self.objectives)

    @property
    def main_objective(self) -> str:
        """The objective reported as the domain's score in validation."""
        return next(iter(self.objectives))

    @property
    def trained(self) -> bool:
        """Whether the domain's rows may be sampled for training."""
        return self.role != "probe"


class Domains(Mapping[str, DomainSpec]):
    """The domains of a run, by name, and by data source.

    Raises:
        ValueError: with one sentence that names the key and what to write instead.
    """

    def __init__(self, config: Mapping[str, Mapping[str, Any]], weight_per: str = "objective"):
        if weight_per not in WEIGHT_PER:
            raise ValueError(f"recap.weight_per must be one of {', '.join(WEIGHT_PER)}, but is {weight_per!r}")
        if not isinstance(config, Mapping) or not config:
            raise ValueError("recap.domains is empty: name at least one domain with role: target and its objectives")
        self._specs = {_checked_name(name): _domain(name, spec) for name, spec in config.items()}
        self._weight_per = weight_per
        if not any(spec.role == "target" for spec in self.values()):
            raise ValueError("recap.domains has no domain with role: target: set recap.domains.<name>.role=target")
        self._of_source = _by_data_source(self.values())
        # Asked for once here so that contradictory priors are found at the start.
        self.prior_weights()

    def __getitem__(self, name: str) -> DomainSpec:
        return self._specs[name]

    def __iter__(self):
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def of_data_source(self, data_source: str) -> DomainSpec:
        """The domain that a row belongs to; KeyError names the data source and the config key to add it to."""
        try:
            return self._of_source[data_source]
        except KeyError:
            raise KeyError(
                f"data source {data_source!r} belongs to no domain: add it to recap.domains.<name>.data_sources"
            ) from None

    @property
    def data_sources(self) -> tuple[str, ...]:
        return tuple(self._of_source)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.items() if spec.role == "target")

    def key(self, domain: str, objective: str) -> str:
        """Name of the series and weight of an objective in a domain: shared across domains, or its own."""
        return f"{domain}/{objective}" if self._weight_per == "domain_objective" else objective

    @property
    def sft(self) -> tuple[str, ...]:
        """Names of the domains that are trained by next-token loss."""
        return tuple(name for name, spec in self.items() if spec.trained and spec.is_sft)

    def scheduler_objectives(self) -> dict[str, str]:
        """Key -> "reward" or "loss", for ``RecapScheduler``, over the domains that are trained on."""
        return {
            self.key(spec.name, objective): "loss" if spec.is_sft else "reward"
            for spec in self.values()
            for objective in spec.trained_objectives
        }

    def domain_weights(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Trained domain -> mean weight of its objectives, of the weights of the keys of `scheduler_objectives`."""
        return {
            spec.name: sum(weights[self.key(spec.name, name)] for name in spec.trained_objectives)
            / len(spec.trained_objectives)
            for spec in self.values()
            if spec.trained
        }

    def prior_weights(self) -> dict[str, float]:
        """Key -> static prior weight, over the domains that are trained on."""
        weights: dict[str, float] = {}
        for spec in self.values():
            for objective in spec.trained_objectives:
                key, weight = self.key(spec.name, objective), spec.weights[objective]
                if weights.setdefault(key, weight) != weight:
                    raise ValueError(
                        f"recap.domains.{spec.name}.objectives.{objective}.weight is {weight} but another domain gives "
                        f"{objective} {weights[key]}: use one weight, or recap.weight_per=domain_objective"
                    )
        return weights

    def check_data(self, train_sources: Mapping[str, int], val_sources: Mapping[str, int]) -> None:
        """Compare the domains with the data sources (name -> rows) found in the train and validation files.

        Raises:
            ValueError: rows without a domain, a probe among the training rows, a domain without training rows, a
                probe without validation rows.
        """
        for files, sources in (("data.train_files", train_sources), ("data.val_files", val_sources)):
            for source, rows in sources.items():
                if source not in self._of_source:
                    raise ValueError(
                        f"{files}: {rows} rows have data_source {source!r}, which belongs to no domain: "
                        f"add it to recap.domains.<name>.data_sources"
                    )
        for source in train_sources:
            spec = self._of_source[source]
            if not spec.trained:
                raise ValueError(
                    f"data.train_files: data_source {source!r} belongs to the probe recap.domains.{spec.name}, which "
                    f"must never be trained on: remove its rows or give the domain another role"
                )
        for spec in self.values():
            sources, files = (train_sources, "data.train_files") if spec.trained else (val_sources, "data.val_files")
            if not any(source in sources for source in spec.data_sources):
                raise ValueError(
                    f"recap.domains.{spec.name} has no rows: {files} hold data_source "
                    f"{', '.join(map(repr, sources)) or '(none)'}, the domain asks for "
                    f"{', '.join(map(repr, spec.data_sources))}"
                )

    def check_loaded(self, names: Collection[str]) -> None:
        """Compare the domains with those (by name) that have training rows left after verl filtered its data set.

        Raises:
            ValueError: a trained domain has none, though its files hold some.
        """
        for name, spec in self.items():
            if spec.trained and name not in names:
                raise ValueError(
                    f"recap.domains.{name} has no training rows left: verl dropped them all as longer than "
                    f"data.max_prompt_length, as unreadable (see its log) or beyond data.train_max_samples"
                )


def _by_data_source(specs: Iterable[DomainSpec]) -> dict[str, DomainSpec]:
    of_source: dict[str, DomainSpec] = {}
    for spec in specs:
        for source in spec.data_sources:
            if source in of_source:
                raise ValueError(
                    f"data source {source!r} stands in both recap.domains.{of_source[source].name} and "
                    f"recap.domains.{spec.name}: a row belongs to one domain"
                )
            of_source[source] = spec
    return of_source


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"recap.domains: a domain's name must be text, but one is {name!r}; put it in quotes")
    return name


def _domain(name: str, config: Mapping[str, Any]) -> DomainSpec:
    where = f"recap.domains.{name}"
    if not isinstance(config, Mapping):
        raise ValueError(f"{where} must be a mapping with {', '.join(_DOMAIN_KEYS)}, but is {config!r}")
    role, kind = config.get("role", "general"), config.get("kind", "rl")
    if role not in ROLES:
        raise ValueError(f"{where}.role must be one of {', '.join(ROLES)}, but is {role!r}")
    if kind not in KINDS:
        raise ValueError(f"{where}.kind must be one of {', '.join(KINDS)}, but is {kind!r}")
    is_sft = kind == "sft"
    for key in config:
        if key in _SFT_KEYS and not is_sft:
            raise ValueError(f"{where}.{key} is for domains that learn reference answers: set {where}.kind=sft")
        if key not in (*_DOMAIN_KEYS, *_SFT_KEYS):
            raise ValueError(f"{where} has an unknown key {key!r}: known are {', '.join((*_DOMAIN_KEYS, *_SFT_KEYS))}")
    source, template = _reference(where, config)
    if is_sft:
        objectives, weights = _sft_objectives(where, config.get("objectives"), template)
    else:
        objectives, weights = _objectives(where, config.get("objectives"))
    sources = _data_sources(where, config.get("data_sources", [name]))
    return DomainSpec(name, role, sources, kind, objectives, weights, source, template)


def _reference(where: str, config: Mapping[str, Any]) -> tuple[str, str]:
    source, template = config.get("source", "data"), config.get("template", "{}")
    if source not in SOURCES:
        raise ValueError(f"{where}.source must be one of {', '.join(SOURCES)}, but is {source!r}")
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(f"{where}.template must be text with one {{}} for the answer, but is {template!r}")
    if source == "self" and template != "{}":
        raise ValueError(f"{where}.template would change what the base model wrote: remove it, or source: self")
    return source, template


def _data_sources(where: str, sources: Any) -> tuple[str, ...]:
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, Sequence) or not sources or not all(isinstance(source, str) for source in sources):
        raise ValueError(f"{where}.data_sources must list at least one data source name, but is {sources!r}")
    return tuple(dict.fromkeys(sources))


def _objectives(where: str, config: Any) -> tuple[dict[str, Objective], dict[str, float]]:
    where = f"{where}.objectives"
    config = _by_name(where, config)
    if not config:
        raise ValueError(f"{where} is empty: name at least one, as in objectives: [accuracy]")
    if NTP in config:
        raise ValueError(f"{where} names {NTP}, the next-token loss on reference answers, which needs kind: sft")
    return _bound_objectives(where, config)


def _sft_objectives(where: str, config: Any, template: str) -> tuple[dict[str, Objective], dict[str, float]]:
    """The objectives that judge it in validation; by default whether the response is what was taught, word for word."""
    where = f"{where}.objectives"
    config = dict(_by_name(where, config))
    options = config.pop(NTP, None)
    if not isinstance(options, Mapping | None) or set(options or {}) - {"weight"}:
        raise ValueError(f"{where}.{NTP} takes a weight and nothing else, but is {options!r}")
    weight = _weight(f"{where}.{NTP}", dict(options or {}))
    objectives, weights = _bound_objectives(where, config or {"exact_match": {"tag": False, "template": template}})
    return objectives, {NTP: weight, **weights}


def _by_name(where: str, config: Any) -> Mapping[str, Any]:
    """Objective -> options, from any of the ways to write it."""
    if config is None:
        return {}
    if isinstance(config, str):
        config = [config]
    if isinstance(config, Sequence) and all(isinstance(name, str) for name in config):
        config = dict.fromkeys(config)
    if not isinstance(config, Mapping):
        raise ValueError(f"{where} must list names or map names to options, as in accuracy: {{}}, but is {config!r}")
    return config


def _bound_objectives(where: str, config: Mapping[str, Any]) -> tuple[dict[str, Objective], dict[str, float]]:
    objectives, weights = {}, {}
    for name, options in config.items():
        objectives[name], weights[name] = _objective(f"{where}.{name}", name, options)
    return objectives, weights


def _objective(where: str, name: Any, options: Any) -> tuple[Objective, float]:
    # "/" parts domain from objective in the names of weights and metrics.
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"{where}: an objective's name must be text without '/'; give the function as fn if need be")
    if not isinstance(options, Mapping | None):
        raise ValueError(f"{where} must be a mapping of options, as in {name}: {{weight: 2.0}}, but is {options!r}")
    options = dict(options or {})
    weight = _weight(where, options)
    fn = options.pop("fn", name)
    if not isinstance(fn, str):
        raise ValueError(f"{where}.fn must be a registered name or package.module:function, but is {fn!r}")
    try:
        return get_objective(fn, **options), weight
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _weight(where: str, options: dict[str, Any]) -> float:
    """Take the static prior weight out of an objective's options."""
    weight = options.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ValueError(f"{where}.weight must be a positive number, but is {weight!r}")
    return float(weight)
