"""The estimator "recap", called as verl's trainer calls it."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, agg_loss, get_adv_estimator_fn, register_adv_est
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

from recap_verl.advantage import LOSS_AGG_MODES, SEQ_MEAN_MODES, objective_factors, weighted_advantages
from recap_verl.verl_adapter.estimators import NAME, StepRewards, check_estimator, step_rewards

NAN = float("nan")
ALGORITHM = OmegaConf.create({"norm_adv_by_std_in_grpo": True, "gamma": 1.0, "lam": 1.0})
PROMPTS, N, LENGTH = 6, 4, 7
OTHERS = ["rloo", "opo", "reinforce_plus_plus_baseline", "gpg"]


class Batch:
    """A step as the trainer holds it: keys in verl's format, one row per output."""

    def __init__(self, outputs=1, padding=0, objectives=2, seed=0):
        draw = torch.Generator().manual_seed(seed)
        names = [
            (f"uid{p}", f"uid{p}_{s}_{o}", s) for p in range(PROMPTS) for s in range(N) for o in range(outputs)
        ] + [("pad0", f"pad0_{i}_0", i) for i in range(padding)]
        self.uid = np.array([uid for uid, _, _ in names], dtype=object)
        self.keys = [key for _, key, _ in names]
        real = PROMPTS * N * outputs
        lengths = torch.randint(1, LENGTH + 1, (len(names),), generator=draw)
        self.mask = (torch.arange(LENGTH) < lengths[:, None]).long()
        self.mask[real:] = 0
        # Rewards belong to the session: each output of one carries the same.
        session = torch.arange(len(names)) if outputs == 1 else torch.arange(len(names)) // outputs
        self.rewards = torch.rand(len(names), objectives, generator=draw, dtype=torch.float64)[session]
        # Prompts 0 and 1 carry the first objective alone, 2 and 3 the last alone, one row lost an objective.
        if objectives > 1:
            prompt = torch.arange(real) // (N * outputs)
            self.rewards[:real][prompt < 2, 1:] = NAN
            self.rewards[:real][(prompt == 2) | (prompt == 3), :-1] = NAN
            self.rewards[:real][-outputs:, 0] = NAN
        self.rewards[real:] = NAN
        self.session = session
        self.final = torch.tensor([int(key.rsplit("_", 1)[1]) == outputs - 1 for key in self.keys])
        self.final[real:] = True
        self.real = torch.arange(len(names)) < real

    def step(self, **settings) -> StepRewards:
        objectives = self.rewards.shape[1]
        weights = torch.linspace(0.5, 1.5, objectives, dtype=torch.float64) if objectives > 1 else torch.ones(1)
        defaults = {
            "rewards": self.rewards,
            "weights": weights.double(),
            "session": self.session,
            "final": self.final,
            "scores": self.scalar,
            "base_estimator": "grpo",
            "loss_agg_mode": "token-mean",
            "weight_on": "advantage",
            "objective_mean": True,
            "normalize_std": True,
        }
        return StepRewards(**{**defaults, **settings})

    @property
    def scalar(self) -> torch.Tensor:
        """verl's own score of each row."""
        return self.rewards.nanmean(dim=1).nan_to_num(0.0).float()

    def at_last_token(self, rewards) -> torch.Tensor:
        tokens = torch.zeros(self.mask.shape)
        tokens[torch.arange(len(tokens)), (self.mask.sum(dim=1) - 1).clamp(min=0)] = rewards.float()
        return tokens

    def advantages(self, step: StepRewards | None = None, estimator=NAME, kl=None) -> torch.Tensor:
        """Through verl's own call path (verl 0.9.1, ``PPOTrainer._compute_advantage``)."""
        rewards = self.at_last_token(self.scalar)
        data = DataProto.from_dict(
            tensors={
                "token_level_rewards": rewards if kl is None else rewards - kl * self.mask,
                "response_mask": self.mask,
            },
            non_tensors={"uid": self.uid},
        )
        arguments = {"batch_keys": self.keys, "adv_estimator": estimator, "num_repeat": N, "config": ALGORITHM}
        if step is None:
            return compute_advantage_for_multi_trajectories(data, **arguments).batch["advantages"]
        with step_rewards(step):
            return compute_advantage_for_multi_trajectories(data, **arguments).batch["advantages"]


def test_verl_knows_the_estimator():
    assert NAME in ADV_ESTIMATOR_REGISTRY


def test_outside_a_step_it_is_grpo():
    batch = Batch()
    torch.testing.assert_close(batch.advantages(None, NAME), batch.advantages(None, "grpo"), atol=1e-5, rtol=1e-4)
    with step_rewards(batch.step()):
        pass
    torch.testing.assert_close(batch.advantages(None, NAME), batch.advantages(None, "grpo"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@pytest.mark.parametrize("objective_mean", [True, False])
@pytest.mark.parametrize("normalize_std", [True, False])
def test_one_output_per_session_is_weighted_advantages(mode, objective_mean, normalize_std):
    batch = Batch()
    step = batch.step(loss_agg_mode=mode, objective_mean=objective_mean, normalize_std=normalize_std)
    expected = weighted_advantages(
        batch.rewards, step.weights, batch.uid, batch.mask, mode, normalize_std, objective_mean
    )
    assert expected.abs().sum() > 1
    torch.testing.assert_close(batch.advantages(step), expected)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weight_on", ["advantage", "reward"])
def test_one_objective_is_verls_grpo(outputs, weight_on):
    batch = Batch(outputs, objectives=1)
    advantages = batch.advantages(batch.step(weight_on=weight_on))
    torch.testing.assert_close(advantages, batch.advantages(None, "grpo"), atol=1e-5, rtol=1e-4)


def test_every_output_of_a_session_gets_the_advantage_of_its_last():
    batch, single = Batch(outputs=3), Batch(outputs=1)
    # The rewards of the earlier outputs must play no part, whatever they are.
    batch.rewards = single.rewards.repeat_interleave(3, dim=0)
    batch.rewards[~batch.final] = 0.123
    step = batch.step(objective_mean=False)
    advantages = batch.advantages(step)
    expected = weighted_advantages(
        single.rewards, step.weights, single.uid, torch.ones(len(single.keys), 1), objective_mean=False
    )
    for row in range(len(batch.keys)):
        torch.testing.assert_close(advantages[row], expected[row // 3] * batch.mask[row])


def test_the_last_output_is_found_in_any_order_of_rows():
    batch = Batch(outputs=3)
    order = torch.randperm(len(batch.keys), generator=torch.Generator().manual_seed(1))
    expected = batch.advantages(batch.step())[order]
    for name in ("mask", "rewards", "session", "final"):
        setattr(batch, name, getattr(batch, name)[order])
    batch.uid, batch.keys = batch.uid[order.numpy()], [batch.keys[i] for i in order]
    torch.testing.assert_close(batch.advantages(batch.step()), expected)


@pytest.mark.parametrize("mode", LOSS_AGG_MODES)
@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_verls_loss_of_the_advantages_is_the_weighted_mean_of_the_objectives(mode, estimator):
    """(1/K) sum_k weight_k L_k, L_k verl's own loss of verl's own advantages over the rows that carry k."""
    batch = Batch(padding=8)
    step = batch.step(base_estimator=estimator, loss_agg_mode=mode)
    ratio = torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(3)) + 0.5
    rows = len(batch.keys)
    loss = agg_loss(-batch.advantages(step) * ratio, batch.mask, mode, global_batch_size=rows)
    expected = 0.0
    for k, weight in enumerate(step.weights):
        carriers = ~batch.rewards[:, k].isnan()
        mask, rewards = batch.mask[carriers], batch.at_last_token(batch.rewards[:, k])[carriers]
        alone, _ = get_adv_estimator_fn(estimator)(rewards, mask, index=batch.uid[carriers.numpy()], config=ALGORITHM)
        expected += weight * agg_loss(-alone * ratio[carriers], mask, mode, global_batch_size=len(mask)) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("objective_mean", [True, False])
def test_another_estimator_is_verls_own_per_objective_times_its_factor(estimator, objective_mean):
    batch = Batch()
    step = batch.step(base_estimator=estimator, objective_mean=objective_mean)
    factors = objective_factors(~batch.rewards.isnan(), step.weights, batch.mask, "token-mean", objective_mean)
    expected = torch.zeros(batch.mask.shape)
    for k, factor in enumerate(factors.tolist()):
        carriers = ~batch.rewards[:, k].isnan()
        alone, _ = get_adv_estimator_fn(estimator)(
            token_level_rewards=batch.at_last_token(batch.rewards[:, k])[carriers],
            response_mask=batch.mask[carriers],
            index=batch.uid[carriers.numpy()],
            config=ALGORITHM,
        )
        expected[carriers] += factor * alone
    assert expected.abs().sum() > 1
    torch.testing.assert_close(batch.advantages(step), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("estimator", [*OTHERS, "reinforce_plus_plus", "rloo_vectorized", "grpo_vectorized"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weight_on", ["advantage", "reward"])
def test_one_objective_is_verls_own_estimator(estimator, outputs, weight_on):
    batch = Batch(outputs, objectives=1)
    step = batch.step(base_estimator=estimator, weight_on=weight_on)
    torch.testing.assert_close(batch.advantages(step), batch.advantages(None, estimator), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("estimator", ["grpo", *OTHERS])
@pytest.mark.parametrize("mode", ["token-mean", "token-sum"])
@pytest.mark.parametrize("weight_on", ["advantage", "reward"])
def test_padding_rows_are_zero_and_change_nothing(estimator, mode, weight_on):
    bare, padded = Batch(), Batch(padding=5)
    for name in ("rewards", "mask"):
        getattr(padded, name)[padded.real] = getattr(bare, name)
    advantages = padded.advantages(padded.step(base_estimator=estimator, loss_agg_mode=mode, weight_on=weight_on))
    assert (advantages[~padded.real] == 0).all()
    expected = bare.advantages(bare.step(base_estimator=estimator, loss_agg_mode=mode, weight_on=weight_on))
    torch.testing.assert_close(advantages[padded.real], expected)


@pytest.mark.parametrize("mode", SEQ_MEAN_MODES)
def test_padding_rows_by_which_verl_divides_are_made_up_for(mode):
    bare, padded = Batch(), Batch(padding=12)
    for name in ("rewards", "mask"):
        getattr(padded, name)[padded.real] = getattr(bare, name)
    with_padding = padded.advantages(padded.step(loss_agg_mode=mode))[padded.real]
    torch.testing.assert_close(with_padding, bare.advantages(bare.step(loss_agg_mode=mode)) * 1.5)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_a_kl_penalty_enters_every_objective(estimator):
    batch = Batch()
    kl = 0.3 * torch.rand(batch.mask.shape, generator=torch.Generator().manual_seed(5))
    penalty = (kl * batch.mask).sum(dim=1, keepdim=True).double()
    expected = batch.advantages(batch.step(base_estimator=estimator, rewards=batch.rewards - penalty))
    advantages = batch.advantages(batch.step(base_estimator=estimator), kl=kl)
    torch.testing.assert_close(advantages, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(advantages, batch.advantages(batch.step(base_estimator=estimator)), atol=1e-2)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_weights_on_rewards_sum_before_one_normalisation(estimator):
    batch = Batch()
    step = batch.step(base_estimator=estimator, weight_on="reward")
    summed = torch.stack([(row * step.weights)[~row.isnan()].sum() for row in batch.rewards])
    alone, _ = get_adv_estimator_fn(estimator)(
        batch.at_last_token(summed), batch.mask, index=batch.uid, config=ALGORITHM
    )
    torch.testing.assert_close(batch.advantages(step), alone, atol=1e-5, rtol=1e-4)


def test_weights_on_rewards_is_weighted_advantages():
    batch = Batch(padding=2)
    step = batch.step(weight_on="reward")
    expected = weighted_advantages(batch.rewards, step.weights, batch.uid, batch.mask, weight_on="reward")
    torch.testing.assert_close(batch.advantages(step), expected)


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "opo", "gpg"])
@pytest.mark.parametrize("weight_on", ["advantage", "reward"])
def test_equal_rewards_and_empty_steps_give_zero(estimator, weight_on):
    batch = Batch()
    batch.rewards = torch.where(batch.rewards.isnan(), NAN, 0.7)
    step = batch.step(base_estimator=estimator, weight_on=weight_on)
    # One row lost an objective, so its group's sums of rewards do differ.
    whole = slice(0, len(batch.keys) - N) if weight_on == "reward" else slice(None)
    assert batch.advantages(step)[whole].abs().max() < 1e-5
    batch.rewards[:] = NAN
    assert (batch.advantages(batch.step(base_estimator=estimator, weight_on=weight_on)) == 0).all()


def test_a_step_is_forgotten_even_if_it_fails():
    batch = Batch()
    with pytest.raises(RuntimeError), step_rewards(batch.step()):
        raise RuntimeError
    torch.testing.assert_close(batch.advantages(None, NAME), batch.advantages(None, "grpo"), atol=1e-5, rtol=1e-4)


def test_inputs_are_left_as_they_were():
    batch = Batch(outputs=2, padding=3)
    before = batch.rewards.clone(), batch.mask.clone()
    for estimator in ("grpo", *OTHERS):
        for weight_on in ("advantage", "reward"):
            batch.advantages(batch.step(base_estimator=estimator, weight_on=weight_on))
    torch.testing.assert_close((batch.rewards, batch.mask), before, equal_nan=True)


@pytest.mark.parametrize(
    "name",
    [NAME, "gae", "grpo", *OTHERS, "reinforce_plus_plus", "grpo_passk", "rloo_vectorized", "grpo_vectorized"],
)
def test_estimators_of_outcome_rewards_are_accepted(name):
    check_estimator(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("remax", "algorithm.adv_estimator=remax needs reward_baselines"),
        ("optimal_token_baseline", "needs old_log_probs, sum_pi_squared, which RECAP cannot give per objective"),
        ("tir_optimal_token_baseline", "algorithm.adv_estimator=tir_optimal_token_baseline needs"),
        ("gdpo", "algorithm.adv_estimator=gdpo combines rewards by weights of its own"),
        ("grop", "algorithm.adv_estimator: Unknown advantage estimator simply: grop"),
    ],
)
def test_estimators_that_need_more_are_refused(name, message):
    with pytest.raises(ValueError) as error:
        check_estimator(name)
    assert message in str(error.value)


def test_a_users_estimator_is_judged_by_its_signature(monkeypatch):
    monkeypatch.setattr("verl.trainer.ppo.core_algos.ADV_ESTIMATOR_REGISTRY", dict(ADV_ESTIMATOR_REGISTRY))

    @register_adv_est("test_doubled")
    def doubled(token_level_rewards, response_mask, index, config=None, **kwargs):
        advantages = 2 * token_level_rewards.sum(dim=1, keepdim=True) * response_mask
        return advantages, advantages

    @register_adv_est("test_needy")
    def needy(token_level_rewards, response_mask, entropies):
        return None

    check_estimator("test_doubled")
    with pytest.raises(ValueError, match="test_needy needs entropies"):
        check_estimator("test_needy")
    batch = Batch(objectives=1)
    advantages = batch.advantages(batch.step(base_estimator="test_doubled"))
    torch.testing.assert_close(advantages, (2 * batch.rewards * batch.mask).float())
