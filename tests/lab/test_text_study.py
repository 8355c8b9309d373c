"""The text study: its rows, its rules, and what predicts prose, on a tiny model."""

import json

import pytest
import torch

from data_prep.check import check_files
from recap_verl.domains import Domains
from recap_verl.lab import tiny
from recap_verl.lab.fast.scoring import score, token_probability, validate
from recap_verl.lab.fast.text_policy import TextPolicy
from recap_verl.lab.text import data
from recap_verl.lab.text.instructions import follows, instructions


@pytest.fixture(scope="module")
def rows():
    return {name: list(make(0)) for name, make in data.FILES.items()}


def test_no_question_of_the_validation_is_trained_on(rows):
    asked = {name: {row["extra_info"]["question"] for row in of_file} for name, of_file in rows.items()}
    assert not asked["val"] & (asked["train"] | asked["self_prompts"])
    domains = Domains(data.DOMAINS)
    assert {row["data_source"] for row in rows["val"]} == set(domains.data_sources)
    assert all(domains.of_data_source(row["data_source"]).trained for row in rows["train"])


def test_the_checker_finds_nothing_but_prose_under_one_prompt(tmp_path):
    data.write(tmp_path)
    report = check_files([tmp_path / f"{name}.parquet" for name in ("train", "self_prompts", "val")])
    assert set(report.counts) <= {"duplicate"}, report
    prose = sum(row["data_source"] == "lab/prose" for row in data.val_rows(0))
    assert report.counts["duplicate"] == prose - 1


def test_right_answers_score_one(rows):
    domains = Domains(data.DOMAINS)
    for row in rows["val"]:
        domain, truth = domains.of_data_source(row["data_source"]), row["reward_model"]["ground_truth"]
        if domain.name in ("instructions", "prose"):
            continue
        thought = "<think>so</think>" if domain.name == "sums" else ""
        values = score(domains, row, f"{thought}<answer>{json.loads(truth)}</answer>")
        assert set(values.values()) == {1.0}, row


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("words", "one two three four five six", "one"),
        ("capitals", "A SENTENCE.", "A sentence."),
        ("capitals", "WORDS", "!"),
        ("end", "Is it so?!", "It is."),
        ("start", "the", ""),
    ],
)
def test_rules(kind, right, wrong):
    rules = [rule for _, rule in instructions() if rule["kind"] == kind]
    rule = next(rule for rule in rules if rule.get("count", 6) == 6 and rule.get("text", "!") != "?")
    right = f"{rule['text']} stands first" if kind == "start" else right
    assert follows(right, json.dumps(rule), {}) == 1.0 and follows(wrong, json.dumps(rule), {}) == 0.0


def test_prose_is_predicted_not_written(rows, tmp_path):
    tiny.main(tmp_path / "model")
    policy = TextPolicy(tmp_path / "model", autocast=True)
    domains = Domains(data.DOMAINS)
    chosen = [next(row for row in rows["val"] if row["data_source"] == name) for name in ("text/first", "lab/prose")]
    found = validate(policy, chosen, domains, torch.Generator().manual_seed(0), 4)
    assert {key[2] for key in found if key[0] == "lab/prose"} == {"token_probability"}
    # An untrained model predicts each token of its vocabulary about alike.
    value = token_probability(policy, chosen[1:], domains)
    assert found["lab/prose", "greedy", "token_probability"] == value
    assert 0.2 / len(policy.tokenizer) < value < 5 / len(policy.tokenizer)


def test_rollouts_in_bfloat16_follow_the_float32_weights(rows, tmp_path):
    tiny.main(tmp_path / "model")
    policy = TextPolicy(tmp_path / "model", autocast=True)

    def answer() -> list[int]:
        return policy.sample(rows["val"][:1], 0.0, torch.Generator().manual_seed(0), 8)[0].tolist()

    before = answer()
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    with torch.no_grad():
        policy.model.model.norm.weight *= -1
    assert answer()[0] != before[0]
