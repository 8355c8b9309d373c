"""The verl-free parts of a run, built from its config section `recap`."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recap_verl.domains import Domains
from recap_verl.replay import FollowingSampler, Mixture, ReplaySampler, mixture_from_config
from recap_verl.scheduler import RecapScheduler

TARGET_ONLY = "target_only"


def build_domains(config: DictConfig) -> Domains:
    """The domains of ``recap.domains``, with plain dicts and lists for options wherever they are built."""
    return Domains(plain(config.recap.domains), config.recap.weight_per)


def build_scheduler(config: DictConfig, domains: Domains) -> RecapScheduler:
    """The scheduler of ``recap.scheduler`` over the objectives of the trained domains."""
    try:
        return RecapScheduler(
            domains.scheduler_objectives(),
            static_weights=domains.prior_weights(),
            **plain(config.recap.scheduler),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"recap.scheduler: {error}") from error


def build_mixture(config: DictConfig, domains: Domains) -> Mixture:
    """The sampler's mixture of ``recap.mixture``; "target_only" is the one this adds to ``mixture_from_config``."""
    value = plain(config.recap.mixture)
    trained = [name for name, spec in domains.items() if spec.trained]
    if value == TARGET_ONLY:
        return {name: float(name in domains.targets) for name in trained}
    try:
        mixture = mixture_from_config(value, domains.targets)
    except (ValueError, TypeError) as error:
        raise ValueError(f"recap.mixture: {error}") from error
    if isinstance(mixture, Mapping):
        unknown = [name for name in mixture if name not in trained]
        if unknown:
            raise ValueError(f"recap.mixture names {unknown[0]!r}, which is no trained domain of recap.domains")
    return mixture


def build_sampler(config: DictConfig, domains: Domains, names, batch_size: int, seed: int) -> ReplaySampler:
    """The sampler of ``recap.mixture``, ``recap.exhaust`` and ``recap.mixture_follows_weights``.

    Args:
        names: one domain name per row, see ``ReplaySampler``.
    """
    mixture, exhaust = build_mixture(config, domains), config.recap.exhaust
    if not config.recap.mixture_follows_weights:
        return ReplaySampler(names, batch_size, mixture, seed, exhaust)
    if exhaust != "reshuffle":
        raise ValueError(
            f"recap.mixture_follows_weights changes the shares, so no epoch can stop with the first domain: set "
            f"recap.exhaust=reshuffle instead of {exhaust}"
        )
    return FollowingSampler(names, batch_size, mixture, seed)


def plain(value: Any) -> Any:
    """A config node as plain dicts and lists, anything else as it is."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
