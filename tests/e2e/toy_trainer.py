"""A trainer of the user's own, with RECAP layered over it as docs/plugging-in.md says."""

from verl.trainer.ppo.v1 import PPOTrainerSync

from recap_verl.verl_adapter.trainer import RecapTrainerMixin


class TheirTrainer(PPOTrainerSync):
    """Somebody's trainer: it adds a metric to each step."""

    def step(self, metrics, timing_raw):
        batch = super().step(metrics, timing_raw)
        metrics["theirs/rows"] = len(batch)
        return batch


class Mine(RecapTrainerMixin, TheirTrainer):
    """Theirs with RECAP."""
