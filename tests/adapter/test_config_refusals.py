"""A bad setting ends in one line that names it and its fix, before Ray or a model starts."""

import pytest
from run_config import change, refusal

REFUSED = {
    "legacy trainer": ({"trainer.use_v1": False}, "trainer.use_v1 is false", "set trainer.use_v1=true"),
    "no domains": ({"recap.domains": {}}, "recap.domains is empty", "name at least one"),
    "domains null": ({"recap.domains": None}, "recap.domains is empty", "name at least one"),
    "no objectives (K=0)": (
        {"recap.domains": {"math": {"role": "target", "objectives": []}}},
        "recap.domains.math.objectives is empty",
        "name at least one",
    ),
    "weight_per": ({"recap.weight_per": "row"}, "recap.weight_per must be one of", "domain_objective"),
    "window": ({"recap.scheduler.window": 1}, "recap.scheduler: window must be", "at least 2"),
    "temperature": ({"recap.scheduler.temperature": 0}, "recap.scheduler: temperature must be", "positive"),
    "temperature below 0": ({"recap.scheduler.temperature": -1.0}, "recap.scheduler: temperature must be", "positive"),
    "alpha": ({"recap.scheduler.alpha": 1.5}, "recap.scheduler: alpha must be", "between 0 and 1"),
    "c_max": ({"recap.scheduler.c_max": 1}, "recap.scheduler: c_max must be", "above 1"),
    "preset": ({"recap.scheduler.preset": "best"}, "recap.scheduler: preset must be one of", "recap, paper"),
    "unknown scheduler key": ({"recap.scheduler.windows": 3}, "recap.scheduler: ", "windows"),
    "mixture word": ({"recap.mixture": "unifrom"}, "recap.mixture: mixture must be", "uniform, proportional"),
    "mixture of a stranger": ({"recap.mixture": {"math": 1, "sat": 1}}, "recap.mixture names 'sat'", "recap.domains"),
    "mixture of a probe": ({"recap.mixture": {"math": 1, "quiz": 1}}, "recap.mixture names 'quiz'", "trained domain"),
    "mixture incomplete": ({"recap.mixture": {"math": 1}}, "recap.mixture", "no share to 'ocr' (6 rows); give it one"),
    "mixture negative": ({"recap.mixture": {"math": 1, "ocr": -1}}, "recap.mixture", "share of 'ocr' must be"),
    "mixture of zeros": ({"recap.mixture": {"math": 0, "ocr": 0}}, "recap.mixture", "at least one must be above 0"),
    "coreset of nothing": ({"recap.mixture": "coreset:0.01"}, "recap.mixture", "raise its fraction"),
    "coreset fraction": ({"recap.mixture": "coreset:much"}, "recap.mixture: mixture 'coreset:much'", "coreset:0.5"),
    "stop before a batch": (
        {"recap.exhaust": "stop", "data.train_batch_size": 16},
        "recap.exhaust and data.train_batch_size do not fit",
        "give it more rows or a smaller share",
    ),
    "batch of none": ({"data.train_batch_size": 0}, "data.train_batch_size", "batch_size must be 1 to"),
    "part of a batch at a time": (
        {"data.gen_batch_size": 3},
        "data.gen_batch_size=3 does not divide data.train_batch_size=4",
        "choose a divisor",
    ),
    "weight_on": ({"recap.weight_on": "loss"}, "recap.weight_on must be one of", "advantage, reward"),
    "exhaust": ({"recap.exhaust": "wrap"}, "recap.exhaust must be one of", "reshuffle, stop"),
    "resume": ({"recap.resume": "always"}, "recap.resume must be one of", "strict, fresh"),
    "resume mode": ({"trainer.resume_mode": "latest"}, "trainer.resume_mode must be", "auto, disable, resume_path"),
    "objective_mean": ({"recap.objective_mean": "yes"}, "recap.objective_mean must be", "true or false"),
    "shares ahead of weights": (
        {"recap.mixture_follows_weights": True, "data.dataloader_num_workers": 2},
        "recap.mixture_follows_weights draws each batch by the weights of the step before",
        "data.dataloader_num_workers=2 draw batches ahead: set it to 0",
    ),
    "shares of an epoch that stops": (
        {"recap.mixture_follows_weights": True, "data.dataloader_num_workers": 0, "recap.exhaust": "stop"},
        "recap.mixture_follows_weights changes the shares",
        "set recap.exhaust=reshuffle",
    ),
    "following": ({"recap.mixture_follows_weights": 1}, "recap.mixture_follows_weights must be", "true or false"),
    "poll interval": ({"recap.poll_interval": 0}, "recap.poll_interval must be", "0 to 60 seconds"),
    "seed": ({"recap.seed": -1}, "recap.seed must be", ">= 0"),
    "n = 1": ({"actor_rollout_ref.rollout.n": 1}, "actor_rollout_ref.rollout.n=1", "set it to 2 or more"),
    "remax": ({"algorithm.adv_estimator": "remax"}, "adv_estimator=remax needs reward_baselines", "use grpo, gae"),
    "otb": ({"algorithm.adv_estimator": "optimal_token_baseline"}, "needs old_log_probs, sum_pi_squared", "use grpo"),
    "gdpo": ({"algorithm.adv_estimator": "gdpo"}, "algorithm.adv_estimator=gdpo", "use grpo"),
    "no estimator": ({"algorithm.adv_estimator": "grop"}, "algorithm.adv_estimator: ", "grop"),
    "reward manager": ({"reward.reward_manager.name": "dapo"}, "reward.reward_manager.name=dapo", "set name=recap"),
    "imported reward manager": (
        {"reward.reward_manager.name": "recap", "reward.reward_manager.source": "importlib"},
        "source=importlib",
        "source=register",
    ),
    "reward function": (
        {"reward.custom_reward_function.path": "mine.py"},
        "reward.custom_reward_function.path is set",
        "fn: package.module:function",
    ),
    "reward model": ({"reward.reward_model.enable": True}, "reward.reward_model.enable=true", "set it to false"),
    "trainer class": (
        {"recap.trainer_class": "no_such_pkg:T"},
        "recap.trainer_class=no_such_pkg",
        "package.module:Class",
    ),
    "trainer class without name": ({"recap.trainer_class": "json"}, "recap.trainer_class=json", "package.module:Class"),
    "no trainer": ({"recap.trainer_class": "json:JSONDecoder"}, "is no subclass of", "PPOTrainer"),
    "no domains file": ({"recap.domains_file": "/no/such.yaml"}, "recap.domains_file: /no/such.yaml", "does not exist"),
    "remote file": ({"data.train_files": "s3://b/x.parquet"}, "data.train_files: s3://b/x.parquet", "copy it"),
    "json file": ({"data.val_files": "x.jsonl"}, "data.val_files: x.jsonl", "convert it"),
    "missing file": ({"data.train_files": ["/no/such.parquet"]}, "train_files: /no/such.parquet", "does not exist"),
    "no train files": ({"data.train_files": []}, "recap.domains.math has no rows", "data.train_files hold"),
}


@pytest.mark.parametrize(("settings", "key", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_setting_is_named_with_its_fix(config, settings, key, fix):
    change(config, **settings)
    message = refusal(config)
    assert key in message and fix in message
