"""The arms of the study are the baselines that users run."""

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError
from run_config import composed

from recap_verl.domains import Domains
from recap_verl.lab.arms import (
    ARMS,
    SELF_DOMAIN,
    arm_domains,
    arm_mixture,
    common_part,
    find_arm,
    kl_factor,
    recap_section,
    variant,
)
from recap_verl.lab.sweeps import SWEEPS
from recap_verl.parts import build_mixture, build_scheduler

DOMAINS = {
    "reason": {"role": "target", "objectives": ["accuracy", "think_format"]},
    "ground": {"objectives": {"iou": {}, "answer_format": {}}},
    "ocr": {"kind": "sft"},
    "facts": {"role": "probe", "objectives": ["exact_match"]},
}


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_has_the_settings_of_its_baseline_as_hydra_composes_it(name):
    arm = ARMS[name]
    config = composed("recap_trainer", *([f"+baseline={arm.baseline}"] if arm.baseline else []))
    assert OmegaConf.to_container(recap_section(arm)) == {**OmegaConf.to_container(config.recap), **arm.recap}
    actor = config.actor_rollout_ref.actor
    assert kl_factor(arm) == (actor.kl_loss_coef if actor.use_kl_loss else 0.0)
    assert (kl_factor(arm) > 0) == (name == "lwf")


def test_changes_come_last_and_unknown_keys_are_named():
    section = recap_section(ARMS["dwa"], {"scheduler": {"temperature": 0.2}})
    assert (section.scheduler.preset, section.scheduler.temperature) == ("dwa", 0.2)
    with pytest.raises(ConfigKeyError, match="temperatur"):
        recap_section(ARMS["recap"], {"temperatur": 1})
    with pytest.raises(ValueError, match="no arm is called 'rcap': choose among reasoning_only"):
        find_arm("rcap")


def test_static_weights_reach_every_domain_that_carries_the_objective():
    prior = Domains(arm_domains(ARMS["static"], DOMAINS, "x")).prior_weights()
    assert prior == {"accuracy": 2.0, "think_format": 1.0, "iou": 2.0, "answer_format": 1.0, "ntp": 1.0}
    assert set(Domains(arm_domains(ARMS["uniform"], DOMAINS, "x")).prior_weights().values()) == {1.0}


def test_self_replay_adds_a_domain_with_half_a_share():
    arm = ARMS["self_replay"]
    domains = Domains(arm_domains(arm, DOMAINS, "self/lab"))
    assert domains[SELF_DOMAIN].source == "self" and domains[SELF_DOMAIN].data_sources == ("self/lab",)
    trained = [name for name, spec in domains.items() if spec.trained]
    assert arm_mixture(arm, "uniform", trained) == {"reason": 1.0, "ground": 1.0, "ocr": 1.0, "self": 0.5}
    assert arm_mixture(ARMS["uniform"], "uniform", trained) == "uniform"
    assert arm_mixture(arm, "proportional", trained) == "proportional"
    assert SELF_DOMAIN not in arm_domains(ARMS["uniform"], DOMAINS, "self/lab")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_variant_of_a_sweep_is_a_configuration_of_its_own(sweep):
    domains = Domains(DOMAINS)
    assert len({(name, variant(find_arm(name), changes, {})) for name, changes in SWEEPS[sweep]}) == len(SWEEPS[sweep])
    for name, changes in SWEEPS[sweep]:
        config = OmegaConf.create({"recap": recap_section(find_arm(name), changes)})
        assert build_scheduler(config, domains).weights and build_mixture(config, domains)


def test_a_variant_is_named_by_what_differs():
    recap = ARMS["recap"]
    assert variant(recap, {}, {}) == variant(recap, {"scheduler": {"temperature": 5}}, {}) == ""
    assert variant(recap, {"scheduler": {"temperature": 0.5, "window": 10}}, {}) == "scheduler.temperature=0.5"
    scarce = {"mixture": {"reason": 14, "ocr": 1.0}, "scheduler": {"temperature": 2}, "weight_on": "reward"}
    name = variant(recap, scarce, {"steps": 50})
    assert name == "mixture=ocr:1,reason:14 scheduler.temperature=2 steps=50 weight_on=reward"
    follows = {"mixture_follows_weights": True}
    assert variant(recap, follows, {}) == "mixture_follows_weights=true"
    assert common_part("steps=50 " + variant(recap, follows, {})) == "steps=50"
    assert common_part(name) == "mixture=ocr:1,reason:14 steps=50"
    assert variant(ARMS["dwa"], {"scheduler": {"preset": "dwa"}}, {}) == ""
