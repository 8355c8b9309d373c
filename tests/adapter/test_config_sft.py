"""Domains of kind: sft in a run's configuration: what is accepted, and what is refused in one line."""

import copy

import pytest
from omegaconf import OmegaConf
from run_config import DOMAINS, change, refusal, row, write_rows

from recap_verl.advantage import LOSS_AGG_MODES
from recap_verl.parts import build_domains, build_scheduler
from recap_verl.verl_adapter.config import prepare_config

SFT = {"data_sources": ["toy/ocr"], "kind": "sft"}
MIXED = {**DOMAINS, "ocr": SFT}
SFT_ALONE = {
    "math": {"role": "target", "data_sources": ["toy/math"], "kind": "sft"},
    **{k: MIXED[k] for k in ("ocr", "quiz")},
}


@pytest.fixture
def hybrid(config):
    """A run that is ready to go, with one domain of each kind and a probe."""
    change(config, **{"recap.domains": copy.deepcopy(MIXED)})
    return config


def test_the_defaults_are_accepted(hybrid):
    prepare_config(hybrid)
    domains = build_domains(hybrid)
    assert domains.sft == ("ocr",)
    assert set(build_scheduler(hybrid, domains).weights) == {"accuracy", "think_format", "ntp"}
    assert OmegaConf.to_container(hybrid.recap.ntp) == {"loss_agg_mode": None, "kl": 0.0, "distribution": False}
    prepare_config(hybrid)  # and again, as it is


def test_the_next_token_loss_has_a_prior_weight(hybrid):
    change(hybrid, **{"recap.domains.ocr.objectives": {"ntp": {"weight": 3.0}}})
    change(hybrid, **{"recap.scheduler.preset": "static"})
    prepare_config(hybrid)
    weights = build_scheduler(hybrid, build_domains(hybrid)).weights
    assert weights == pytest.approx({"accuracy": 0.6, "think_format": 0.6, "ntp": 1.8})


ACCEPTED = {
    "a template and its objectives": {
        "recap.domains.ocr.template": "<answer>{}</answer>",
        "recap.domains.ocr.objectives": ["exact_match", "answer_format"],
    },
    "the base model's own answers": {"recap.domains.ocr.source": "self"},
    "one weight per domain and objective": {"recap.weight_per": "domain_objective"},
    "weights on rewards": {"recap.weight_on": "reward"},
    "objectives by their rows": {"recap.objective_mean": False},
    "KL on both kinds": {"recap.ntp.kl": 0.1, "actor_rollout_ref.actor.use_kl_loss": True},
    "KL on reference tokens alone": {
        "recap.ntp.kl": 1,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.kl_loss_coef": 0.0,
    },
    "another temperature": {"actor_rollout_ref.rollout.temperature": 0.7},
    "fused kernels at temperature 1": {"actor_rollout_ref.model.use_fused_kernels": True},
    "Megatron at temperature 1": {"actor_rollout_ref.actor.strategy": "megatron"},
    "FSDP2 at another temperature": {
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.rollout.temperature": 1.2,
    },
    "groups filtered by reward": {"algorithm.filter_groups.enable": True},
    "groups filtered by main score": {"algorithm.filter_groups": {"enable": True, "metric": "acc"}},
    "an estimator without groups": {"algorithm.adv_estimator": "gae", "actor_rollout_ref.rollout.n": 1},
    **{f"aggregation {mode}": {"recap.ntp.loss_agg_mode": mode} for mode in LOSS_AGG_MODES},
}


def with_rows(config, path, answers: list, **columns) -> str:
    """Add a file of rows of the next-token domain."""
    rows = [row("toy/ocr", i) | columns for i in range(len(answers))]
    for one, answer in zip(rows, answers, strict=True):
        one["reward_model"]["ground_truth"] = answer
    change(config, **{"data.train_files": [config.data.train_files, write_rows(path, rows)]})
    return str(path)


@pytest.mark.parametrize("answers", [["a", None], ["a", "[]"], [["a"], []]], ids=str)
def test_a_row_without_an_answer_to_learn_is_named(hybrid, tmp_path, answers):
    file = with_rows(hybrid, tmp_path / "bad.parquet", answers)
    assert f"data.train_files: {file}, row 1 has no answer to learn: ground_truth " in refusal(hybrid)


def test_distributions_must_be_there(hybrid, tmp_path):
    change(hybrid, **{"recap.ntp.distribution": True})
    message = refusal(hybrid)
    assert "recap.ntp.distribution=true, but no file of data.train_files has a column 'ntp_distribution'" in message
    assert "python -m recap_verl.self_replay --top-k, or set it to false" in message
    with_rows(hybrid, tmp_path / "self.parquet", ["a"], ntp_distribution={"token_ids": [1]})
    prepare_config(hybrid)


@pytest.mark.parametrize("settings", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_good_settings_are_accepted(hybrid, settings):
    change(hybrid, **settings)
    prepare_config(hybrid)


REFUSED = {
    "aggregation": (
        {"recap.ntp.loss_agg_mode": "mean"},
        "recap.ntp.loss_agg_mode must be null or one of token-mean",
        "'mean'",
    ),
    "kl below 0": ({"recap.ntp.kl": -0.1}, "recap.ntp.kl must be a number >= 0", "-0.1"),
    "kl true": ({"recap.ntp.kl": True}, "recap.ntp.kl must be a number >= 0", "True"),
    "kl text": ({"recap.ntp.kl": "much"}, "recap.ntp.kl must be a number >= 0", "'much'"),
    "kl nan": ({"recap.ntp.kl": float("nan")}, "recap.ntp.kl must be a number >= 0", "nan"),
    "kl infinite": ({"recap.ntp.kl": float("inf")}, "recap.ntp.kl must be a number >= 0", "inf"),
    "kl null": ({"recap.ntp.kl": None}, "recap.ntp.kl must be a number >= 0", "None"),
    "kl without reference": (
        {"recap.ntp.kl": 0.1},
        "recap.ntp.kl=0.1 needs the reference policy",
        "set actor_rollout_ref.actor.use_kl_loss=true",
    ),
    "distribution": ({"recap.ntp.distribution": "yes"}, "recap.ntp.distribution must be true or false", "'yes'"),
    "distillation": (
        {"distillation.enabled": True},
        "recap.domains.ocr.kind=sft and distillation.enabled=true",
        "choose one",
    ),
    "routing replay": (
        {"actor_rollout_ref.rollout.enable_rollout_routing_replay": True},
        "recap.domains.ocr.kind=sft generates nothing",
        "set actor_rollout_ref.rollout.enable_rollout_routing_replay=false",
    ),
    "fused kernels at another temperature": (
        {"actor_rollout_ref.model.use_fused_kernels": True, "actor_rollout_ref.rollout.temperature": 0.7},
        "recap.domains.ocr.kind=sft scores reference tokens at temperature 1",
        "set actor_rollout_ref.rollout.temperature=1, or use FSDP without fused kernels",
    ),
    "Megatron at another temperature": (
        {"actor_rollout_ref.actor.strategy": "megatron", "actor_rollout_ref.rollout.temperature": 0.7},
        "recap.domains.ocr.kind=sft scores reference tokens at temperature 1",
        "temperature=1",
    ),
    "distributions of fused kernels": (
        {"recap.ntp.distribution": True, "actor_rollout_ref.model.use_fused_kernels": True},
        "recap.ntp.distribution=true needs whole logits",
        "set it to false",
    ),
    "distributions in sequence parallel": (
        {"recap.ntp.distribution": True, "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size": 2},
        "recap.ntp.distribution=true needs whole logits",
        "set it to false",
    ),
    "distributions of Megatron": (
        {"recap.ntp.distribution": True, "actor_rollout_ref.actor.strategy": "megatron"},
        "recap.ntp.distribution=true needs whole logits",
        "set it to false",
    ),
    "groups filtered by what only some rows have": (
        {"algorithm.filter_groups": {"enable": True, "metric": "recap_objective/accuracy"}},
        "algorithm.filter_groups.metric=recap_objective/accuracy is not there in rows of every domain",
        "choose one of reward, acc",
    ),
    "n = 1 with a generated domain": (
        {"actor_rollout_ref.rollout.n": 1},
        "actor_rollout_ref.rollout.n=1 leaves one response to a group",
        "set it to 2 or more",
    ),
    "source": ({"recap.domains.ocr.source": "base"}, "recap.domains.ocr.source must be one of data, self", "'base'"),
    "template": ({"recap.domains.ocr.template": "answer"}, "recap.domains.ocr.template must be text with one {}", ""),
    "no rows": ({"recap.domains.ocr.data_sources": ["toy/none"]}, "data_source 'toy/ocr'", "belongs to no domain"),
}


@pytest.mark.parametrize(("settings", "key", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_setting_is_named_with_its_fix(hybrid, settings, key, fix):
    change(hybrid, **settings)
    message = refusal(hybrid)
    assert key in message and fix in message


def test_only_what_is_generated_needs_groups(config):
    change(config, **{"recap.domains": copy.deepcopy(SFT_ALONE), "actor_rollout_ref.rollout.n": 1})
    prepare_config(config)
    assert set(build_scheduler(config, build_domains(config)).weights) == {"ntp"}


def test_a_probe_of_either_kind_asks_nothing(config):
    """It is generated in validation alone, and never learnt."""
    domains = copy.deepcopy(SFT_ALONE)
    domains["quiz"]["objectives"] = ["accuracy"]
    change(config, **{"recap.domains": domains, "actor_rollout_ref.rollout.n": 1})
    prepare_config(config)
    change(
        config,
        **{
            "recap.domains": {**DOMAINS, "quiz": {"role": "probe", "kind": "sft", "data_sources": ["toy/quiz"]}},
            "actor_rollout_ref.rollout.n": 4,
            "actor_rollout_ref.rollout.temperature": 0.7,
            "actor_rollout_ref.model.use_fused_kernels": True,
            "distillation.enabled": True,
        },
    )
    prepare_config(config)


def test_without_such_a_domain_the_settings_are_still_checked(config):
    for setting, value in {"loss_agg_mode": "mean", "kl": -1, "distribution": "no"}.items():
        changed = copy.deepcopy(config)
        change(changed, **{f"recap.ntp.{setting}": value})
        assert f"recap.ntp.{setting} must be" in refusal(changed)
    change(config, **{"recap.ntp.kl": 0.1, "recap.ntp.distribution": True})
    prepare_config(config)
