"""``python -m recap_verl.main_ppo <hydra overrides>``: verl's PPO trainer with the config section ``recap``.

Takes the place of ``python -m verl.trainer.main_ppo`` (verl 0.9.1) in a recipe; all of its overrides stay as they are.
"""

import sys

import hydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from verl.trainer import main_ppo as verl_main_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device, get_device_name

from recap_verl.verl_adapter.config import prepare_config
from recap_verl.verl_adapter.cpu.compat import forget_visible_gpus
from recap_verl.verl_adapter.task_runner import RecapTaskRunner

VERL_CONFIGS = "pkg://verl.trainer.config"


@hydra.main(
    config_path="config",
    config_name="recap_trainer_cpu" if get_device_name() == "cpu" else "recap_trainer",
    version_base=None,
)
def main(config: DictConfig) -> None:
    """Check the whole configuration, then start Ray and train."""
    auto_set_device(config)
    if config.get("recap") is None:
        _exit("the configuration has no section recap: list recap_trainer in its defaults")
    if config.recap.enable is False:
        _run(config, verl_main_ppo.TaskRunnerV1)
        return
    try:
        prepare_config(config)
    except (ValueError, KeyError, OSError, OmegaConfBaseException) as error:
        _exit(str(error.args[0] if isinstance(error, KeyError) else error))
    _run(config, RecapTaskRunner)


def _exit(message: str) -> None:
    """End with one line instead of a traceback through hydra: these mistakes are the user's to mend."""
    print(f"recap_verl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _run(config: DictConfig, task_runner_class) -> None:
    if get_device_name() == "cpu":
        forget_visible_gpus()
    validate_config(config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    verl_main_ppo.run_ppo(config, task_runner_class=task_runner_class)


def _with_verl_configs(arguments: list[str]) -> list[str]:
    """The command line with verl's config folder in hydra's search path, next to any folders the user gives.

    A config file may only name search paths when it is the primary one, and users start from configs of their own.
    """
    key = "hydra.searchpath="
    given = [argument for argument in arguments if argument.startswith(key)]
    paths = [path for argument in given for path in argument[len(key) :].strip("[]").split(",") if path]
    kept = [argument for argument in arguments if argument not in given]
    return [*kept, f"{key}[{','.join([*paths, VERL_CONFIGS])}]"]


if __name__ == "__main__":
    sys.argv[1:] = _with_verl_configs(sys.argv[1:])
    main()
