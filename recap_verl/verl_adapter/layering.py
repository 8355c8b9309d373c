"""Which trainer class a run uses, with RECAP in it."""

import importlib

from omegaconf import DictConfig


def load_trainer_class(config: DictConfig) -> type | None:
    """The class that ``recap.trainer_class`` names as ``package.module:Class``, None if it names none.

    Raises:
        ValueError: the module or the class cannot be found, or it is no verl trainer.
    """
    path = config.recap.trainer_class
    if path is None:
        return None
    module_name, _, name = str(path).partition(":")
    try:
        cls = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        # Importing runs the user's own code, which may fail in any way.
        raise ValueError(
            f"recap.trainer_class={path} cannot be loaded as package.module:Class: {type(error).__name__}: {error}"
        ) from error
    from verl.trainer.ppo.v1 import PPOTrainer

    if not (isinstance(cls, type) and issubclass(cls, PPOTrainer)):
        raise ValueError(f"recap.trainer_class={path} is no subclass of verl.trainer.ppo.v1.PPOTrainer")
    return cls


def recap_trainer_class(config: DictConfig) -> type:
    """verl's trainer for the configured mode, or the user's own, with ``RecapTrainerMixin`` in front.

    A class that has the mixin already is used as it is. The mode keeps its name: verl 0.9.1 compares it with the
    literal "sync" in several places, so a new name would silently run asynchronously.
    """
    from verl.trainer.ppo.v1 import get_trainer_cls

    from recap_verl.verl_adapter.trainer import RecapTrainerMixin

    base = load_trainer_class(config) or get_trainer_cls(config.trainer.v1.trainer_mode)
    if issubclass(base, RecapTrainerMixin):
        return base
    return type(f"Recap{base.__name__}", (RecapTrainerMixin, base), {"__module__": __name__})
