"""The plain-torch engine: its loss is the weighted loss, and it learns."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from recap_verl.domains import Domains
from recap_verl.lab import tiny
from recap_verl.lab.arms import ARMS, recap_section
from recap_verl.lab.fast.engine import FastEngine
from recap_verl.lab.fast.text_policy import TextPolicy
from recap_verl.lab.study import Study

DOMAINS = {
    "a": {"role": "target", "objectives": {"letters": {"fn": "toy_objectives:letters"}, "think_format": {}}},
    "b": {"objectives": {"letters": {"fn": "toy_objectives:letters"}}},
    "c": {"kind": "sft", "template": "say {}"},
}
STUDY = Study(steps=12, prompts=6, rollouts=4, learning_rate=1e-3, max_response_length=12, validate_every=12)


def row(source: str, index: int) -> dict:
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": f"say {index}"}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(str(index))},
        "extra_info": {"split": "train", "index": index},
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast") / "model"
    tiny.main(folder)
    return folder


def engine(model, arm="recap", study=STUDY, seed=0, kl=0.0, **changes) -> FastEngine:
    config = OmegaConf.create({"recap": recap_section(ARMS[arm], {"scheduler": {"window": 2}, **changes})})
    domains = Domains(DOMAINS)
    rows = [row(name, index) for index in range(12) for name in "abc"]
    base = TextPolicy(model) if kl else None
    return FastEngine(TextPolicy(model), base, rows, rows[:6], domains, config, study, seed, kl)


def series(records, metric, source=None):
    return [value for _, name, _, m, value in records if m == metric and source in (None, name)]


def test_rewards_rise_and_the_next_token_loss_falls(model):
    records = list(engine(model).run())
    nll = series(records, "loss/ntp")
    assert len(nll) == 12 and nll[-1] < 0.8 * nll[0]
    rewards = series(records, "reward/letters")
    assert sum(rewards[-6:]) > sum(rewards[:6])
    weights = [
        [series(records, f"weight/{name}")[step] for name in ("letters", "think_format", "ntp")] for step in range(12)
    ]
    assert all(abs(sum(of_step) - 3) < 1e-9 for of_step in weights)
    assert weights[0] == [1.0, 1.0, 1.0] != weights[-1]
    assert {step for step, *_ in records if _[1] == "greedy"} == {0, 12}


def test_shares_follow_the_weights(model):
    study = Study(steps=8, prompts=12, rollouts=2, learning_rate=1e-3, max_response_length=6, validate_every=8)
    scheduler = {"window": 2, "temperature": 0.2}
    drawn = {}
    for follows in (False, True):
        run = engine(model, study=study, scheduler=scheduler, mixture_follows_weights=follows)
        list(run.run())
        drawn[follows] = run.sampler.metrics()
    assert set(drawn[False].values()) == {1 / 3} != set(drawn[True].values())
    weights = run.domains.domain_weights(run.scheduler.weights)
    state = run.sampler.state_dict()
    for name, share in zip(state["rows"], state["next_shares"], strict=True):
        assert share / 2**20 == pytest.approx(weights[name] / sum(weights.values()), abs=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(model):
    study = Study(steps=2, prompts=3, rollouts=2, max_response_length=6, validate_every=2)

    def run(seed):
        return [record for record in engine(model, study=study, seed=seed).run() if record[3] != "time/step"]

    assert run(1) == run(1) != run(2)


def test_the_kl_loss_keeps_the_policy_near_the_base(model):
    study = Study(steps=6, prompts=6, rollouts=4, learning_rate=1e-3, max_response_length=12, validate_every=6)
    rows = [row("a", 0), row("b", 1)]
    base = TextPolicy(model)
    answers = [base.encode("three words here"), base.encode("ab")]
    moved = []
    for kl in (0.0, 10.0):
        run = engine(model, "uniform", study, kl=kl, mixture={"a": 1, "b": 1, "c": 0})
        list(run.run())
        with torch.no_grad():
            moved.append(float((run.policy.log_probs(rows, answers) - base.log_probs(rows, answers)).abs().mean()))
    assert moved[1] < 0.5 * moved[0]
