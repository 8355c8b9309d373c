"""The gradient that verl's actor update applies is that of (1/K) * sum_k lambda_k * L_k, written out independently."""

from functools import partial

import pytest
import torch
from fast_gradient import fast_gradient
from gradient_probe import CASES, MODES
from reference_gradient import HORIZON, reference_gradient

pytestmark = pytest.mark.e2e

TOLERANCE = 1e-4
NORM = "seq-mean-token-sum-norm"
DOMAINS = """
r1: {role: target, objectives: {one: {fn: "gradient_probe:hashed", seed: 1}}}
r2: {objectives: {two: {fn: "gradient_probe:hashed", seed: 2}, three: {fn: "gradient_probe:hashed", seed: 3}}}
r3: {objectives: {four: {fn: "gradient_probe:hashed", seed: 4}, five: {fn: "gradient_probe:hashed", seed: 5}}}
s1: {kind: sft}
s2: {kind: sft, template: "<answer>{}</answer>"}
s3: {kind: sft}
s4: {kind: sft}
s5: {kind: sft}
"""


@pytest.fixture(scope="module")
def hybrid_data(tmp_path_factory, write_rows):
    folder = tmp_path_factory.mktemp("hybrid")
    sources = ("r1", "r2", "r3", "s1", "s2", "s3", "s4", "s5")
    path = write_rows(folder / "train.parquet", 64, sources, answer=lambda i: "abc" * (1 + i % 4))
    (folder / "domains.yaml").write_text(DOMAINS)
    return [f"data.train_files={path}", f"data.val_files={path}", f"recap.domains_file={folder / 'domains.yaml'}"]


@pytest.mark.parametrize(
    ("ranks", "engine", "modes", "temperature"),
    [
        (2, "padded", [mode for mode in MODES if mode != NORM], 1.0),
        # The sum's mode over a constant: it differs by a factor, and not by how many ranks there are.
        (1, "padded", [NORM], 0.8),
        # How rows are packed has nothing to do with how their losses are averaged: one mode of each family.
        (1, "packed", ("token-mean", "seq-mean-token-mean"), 0.8),
    ],
)
def test_the_gradient_is_that_of_the_weighted_loss(
    launch, tmp_path, workspace, hybrid_data, ranks, engine, modes, temperature
):
    out = tmp_path / "gradients"
    out.mkdir()
    packed = ["actor_rollout_ref.model.use_remove_padding=true", "actor_rollout_ref.actor.use_dynamic_bsz=true"]
    run = launch(
        [
            *hybrid_data,
            *(packed if engine == "packed" else []),
            "recap.trainer_class=gradient_probe:GradientProbe",
            "recap.weight_per=domain_objective",
            "data.train_batch_size=16",
            "actor_rollout_ref.actor.ppo_mini_batch_size=16",
            f"actor_rollout_ref.actor.loss_scale_factor={HORIZON}",
            f"actor_rollout_ref.rollout.temperature={temperature}",
            # One row at a time: the probe's batches have any number of rows.
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=1",
            f"trainer.n_gpus_per_node={ranks}",
            "trainer.total_training_steps=1",
            "trainer.test_freq=-1",
            "trainer.val_before_train=false",
        ],
        tmp_path,
        env={"GRADIENT_PROBE_OUT": str(out), "GRADIENT_PROBE_MODES": ",".join(modes)},
    )
    assert run.returncode == 0, run.end
    formula = partial(reference_gradient, workspace.model, temperature=temperature)
    deviations = {path.stem: deviation(path, formula, references) for path, references in cases(out)}
    assert len(deviations) == len(CASES) * len(modes) * 2 * 3
    report = "\n".join(f"{value:.1e}  {label}" for label, value in deviations.items())
    (tmp_path / "deviations.txt").write_text(report)
    inexact = {label for label in deviations if by_mini_batch(label)}
    wrong = {label: value for label, value in deviations.items() if label not in inexact and value > TOLERANCE}
    assert not wrong, report
    without_sft = sorted(out.glob("*.plain"))
    assert len(without_sft) == 2 * len(modes) * 2
    assert [path.stem for path in without_sft if not equal_to_the_bit(path)] == []
    if temperature == 1.0:
        engine = partial(fast_gradient, workspace.model)
        same = {path.stem: deviation(path, engine, kept) for path, kept in cases(out) if of_fast_engine(path)}
        assert len(same) == len(CASES) * 2
        assert max(same.values()) < TOLERANCE, same
    # Each mini-batch of verl's token-mean divides by its own tokens: the step is the objective only if they are equal.
    assert all(deviations[label] < 0.5 for label in inexact), report


def cases(out):
    """Each case's file, with a dictionary that is the same for all of them."""
    references = {}
    return [(path, references) for path in sorted(out.glob("*.case"))]


def of_fast_engine(path) -> bool:
    """Whether the laboratory's engine makes such steps: one update, averaged over tokens."""
    return ", token-mean," in path.stem and path.stem.endswith("micro-batch all, mini-batches 1")


def equal_to_the_bit(path) -> bool:
    """Whether verl's own loss function gives the same gradient as ours does on the same rows."""
    pairs = zip(torch.load(path.with_suffix(".gradient")), torch.load(path), strict=True)
    return all(ours.keys() == plain.keys() and all(ours[k].equal(plain[k]) for k in plain) for ours, plain in pairs)


def by_mini_batch(label: str) -> bool:
    """Whether verl alone normalises: no next-token rows, so that a step is verl's own to the bit."""
    return label.startswith("rl") and ", token-mean," in label and label.endswith("mini-batches 2")


def deviation(path, gradient_of, references: dict) -> float:
    """Norm of the difference between the applied gradient and `gradient_of` the case, relative to the latter.

    `references` keeps the latter for the next case that differs in micro-batches alone.
    """
    case = torch.load(path)
    updates = torch.load(path.with_suffix(".gradient"))
    # The mean of the updates is the objective; a sum over the step is the sum of its parts.
    share = 1 / case["epochs"] if case["mode"] == "token-sum" else 1 / len(updates)
    formula = path.stem.replace("micro-batch 1,", "micro-batch all,")
    if formula not in references:
        references[formula] = gradient_of(case)
    reference = references[formula]
    difference = square = 0.0
    for name, expected in reference.items():
        applied = share * sum(gradient[name] for gradient in updates)
        difference += float((applied - expected).double().square().sum())
        square += float(expected.double().square().sum())
    assert square > 0, f"{path.stem}: there is nothing to compare"
    return (difference / square) ** 0.5
