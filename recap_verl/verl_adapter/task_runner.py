"""verl's task runner with RECAP's trainer class in the registry (verl 0.9.1, ``trainer/main_ppo.py``)."""

import ray
from omegaconf import DictConfig
from verl.trainer.main_ppo import TaskRunnerV1

from recap_verl.verl_adapter.layering import recap_trainer_class

# Ray wraps the class it decorates; the plain one can be inherited from.
_TaskRunner = TaskRunnerV1.__ray_metadata__.modified_class


@ray.remote
class RecapTaskRunner(_TaskRunner):
    """Runs the configured trainer mode with ``RecapTrainerMixin`` over its class."""

    def run(self, config: DictConfig):
        """Put the layered class where verl's ``get_trainer_cls`` looks, in this process alone, and run."""
        from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

        TRAINER_REGISTRY[config.trainer.v1.trainer_mode] = recap_trainer_class(config)
        return super().run(config)
