"""Weights of reference tokens: their weighted likelihoods add up to what verl's own aggregation would give."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import agg_loss

from recap_verl.advantage import LOSS_AGG_MODES
from recap_verl.loss import mean_per_token, next_token_weights

HORIZON = 7
WIDTH = 6


@dataclass
class Step:
    """Rows of several next-token objectives, cut into mini-batches in any way."""

    objective: torch.Tensor
    lengths: torch.Tensor
    mini_batch: torch.Tensor
    mini_batches: int
    weights: torch.Tensor
    nll: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        return (torch.arange(WIDTH) < self.lengths[:, None]).double()

    def weigh(self, mode: str, **settings) -> torch.Tensor:
        arguments = {"mini_batches": self.mini_batches, "horizon": HORIZON, **settings}
        return next_token_weights(self.objective, self.lengths, self.weights, mode, **arguments)

    def of_mini_batches(self, row_weights: torch.Tensor) -> list[float]:
        """`sum(w * nll)` of each mini-batch."""
        of_row = (row_weights[:, None] * self.nll * self.mask).sum(dim=1)
        return [float(of_row[self.mini_batch == number].sum()) for number in range(self.mini_batches)]

    def loss(self, row_weights: torch.Tensor, mode: str) -> float:
        """What the step's updates come to: a sum adds up over them, everything else is a mean."""
        parts = self.of_mini_batches(row_weights)
        return sum(parts) if mode == "token-sum" else sum(parts) / self.mini_batches

    def verls(self, mode: str, rows: torch.Tensor, **populations) -> float:
        """verl's aggregation over some of the rows alone."""
        return float(agg_loss(self.nll[rows], self.mask[rows], mode, loss_scale_factor=HORIZON, **populations))


@st.composite
def steps(draw) -> Step:
    rows, objectives = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    mini_batches = draw(st.integers(1, 3))

    def per_row(low: int, high: int) -> torch.Tensor:
        return torch.tensor(draw(st.lists(st.integers(low, high), min_size=rows, max_size=rows)))

    weights = draw(st.lists(st.floats(0.01, 100.0), min_size=objectives, max_size=objectives))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return Step(
        objective=per_row(0, objectives - 1),
        lengths=per_row(1, WIDTH),
        mini_batch=per_row(0, mini_batches - 1),
        mini_batches=mini_batches,
        weights=torch.tensor(weights),
        nll=5 * torch.rand(rows, WIDTH, generator=seed, dtype=torch.float64),
    )


@settings(max_examples=150, deadline=None)
@given(steps(), st.sampled_from(LOSS_AGG_MODES))
def test_the_step_comes_to_the_weighted_mean_of_verls_losses(step: Step, mode):
    """(1/K) sum_k weight_k L_k, whatever the mini-batches; K counts objectives without a next-token row too."""
    expected = sum(
        float(step.weights[k]) * step.verls(mode, step.objective == k) for k in sorted(set(step.objective.tolist()))
    ) / len(step.weights)
    assert step.loss(step.weigh(mode), mode) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(steps(), st.sampled_from(LOSS_AGG_MODES), st.floats(1.0, 1e4))
def test_with_a_population_objectives_count_by_their_rows(step: Step, mode, population):
    """sum_k weight_k * (what the rows of k add to verl's aggregation over the whole population)."""
    expected = sum(
        float(step.weights[k])
        * step.verls(mode, step.objective == k, batch_num_tokens=population, global_batch_size=population)
        for k in sorted(set(step.objective.tolist()))
    )
    weights = step.weigh(mode, population=population)
    assert step.loss(weights, mode) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(steps(), st.sampled_from(LOSS_AGG_MODES), st.booleans())
def test_weights_are_finite_and_positive_and_proportional_to_the_objectives(step: Step, mode, by_rows):
    population = {"population": 10.0} if by_rows else {}
    weights = step.weigh(mode, **population)
    assert weights.shape == step.lengths.shape and weights.dtype == torch.float64
    assert weights.isfinite().all() and (weights > 0).all()
    step.weights = 2 * step.weights
    torch.testing.assert_close(step.weigh(mode, **population), 2 * weights)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
def test_rows_of_one_objective_do_not_move_those_of_another(mode):
    lengths, weights = torch.tensor([2, 5, 3]), torch.tensor([0.5, 1.5])
    both = next_token_weights(torch.tensor([0, 1, 1]), lengths, weights, mode, horizon=HORIZON)
    alone = next_token_weights(torch.tensor([0]), lengths[:1], weights, mode, horizon=HORIZON)
    assert both[0] == alone[0]


def test_by_hand():
    objective, lengths = torch.tensor([1, 1, 2]), torch.tensor([1, 3, 2])
    weights = torch.tensor([9.0, 0.6, 1.2])  # the first is an RL objective

    def weigh(mode, **settings):
        return next_token_weights(objective, lengths, weights, mode, **settings).tolist()

    assert weigh("token-sum", mini_batches=5) == pytest.approx([0.2, 0.2, 0.4])
    assert weigh("token-mean") == pytest.approx([0.2 / 4, 0.2 / 4, 0.4 / 2])
    assert weigh("token-mean", mini_batches=3) == pytest.approx([0.6 / 4, 0.6 / 4, 1.2 / 2])
    assert weigh("seq-mean-token-sum") == pytest.approx([0.1, 0.1, 0.4])
    assert weigh("seq-mean-token-mean") == pytest.approx([0.1, 0.1 / 3, 0.2])
    assert weigh("seq-mean-token-sum-norm", horizon=10) == pytest.approx([0.01, 0.01, 0.04])
    assert weigh("seq-mean-token-sum", population=8.0) == pytest.approx([0.6 / 8, 0.6 / 8, 1.2 / 8])
    assert weigh("token-mean", population=20.0) == pytest.approx([0.6 / 20, 0.6 / 20, 1.2 / 20])


GOOD = {
    "objective": torch.tensor([0, 1]),
    "lengths": torch.tensor([3, 1]),
    "weights": torch.ones(2),
    "loss_agg_mode": "token-mean",
}
BAD = {
    "mode": ({"loss_agg_mode": "mean"}, "loss_agg_mode is 'mean': choose one of token-mean, token-sum"),
    "lengths of other rows": ({"lengths": torch.tensor([3])}, r"must be \(rows,\), got \(2,\), \(1,\)"),
    "a matrix": (
        {"objective": torch.zeros(2, 1, dtype=torch.int64), "lengths": torch.ones(2, 1)},
        r"must be \(rows,\), got \(2, 1\)",
    ),
    "a row without tokens": ({"lengths": torch.tensor([3, 0])}, "row 1 has no reference token: give every row one"),
    "no horizon": ({"loss_agg_mode": "seq-mean-token-sum-norm"}, "needs a horizon: set actor.loss_scale_factor"),
    "a horizon of 0": ({"loss_agg_mode": "seq-mean-token-sum-norm", "horizon": 0}, "needs a horizon"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        next_token_weights(**{**GOOD, **change})


def test_the_mean_per_token_counts_tokens_and_not_rows():
    assert mean_per_token([torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0])]) == 4.0
    assert mean_per_token([torch.tensor([0.5])]) == 0.5
