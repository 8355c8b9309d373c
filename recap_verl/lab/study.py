"""What every arm of the study has in common, whichever engine runs it."""

from dataclasses import dataclass

ENGINES = ("fast", "verl")


@dataclass(frozen=True)
class Study:
    """Settings of a run.

    Attributes:
        steps: updates; one on each batch of rollouts, so that every ratio is 1.
        prompts: prompts a step, over all domains.
        rollouts: responses to each; a group of GRPO.
        learning_rate: AdamW's highest, behind the warm-up; a half cosine takes it to 0, so that what is measured at the
            end is what was learnt and not the last steps' noise.
        warm_up: steps.
        weight_decay: AdamW's.
        max_grad_norm: the gradient is scaled down to it.
        max_prompt_length, max_response_length: tokens.
        validate_every: steps between two validations; there is one before the first step and one behind the last.
    """

    steps: int = 150
    prompts: int = 16
    rollouts: int = 8
    learning_rate: float = 2e-4
    warm_up: int = 5
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_prompt_length: int = 96
    max_response_length: int = 32
    validate_every: int = 75

    def __post_init__(self):
        for name in ("steps", "prompts", "rollouts", "validate_every", "max_prompt_length", "max_response_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        if self.rollouts < 2:
            raise ValueError("rollouts must be at least 2: GRPO compares the responses to one prompt")


STUDIES = {
    "vl": Study(),
    "text": Study(
        steps=20,
        prompts=6,
        rollouts=4,
        learning_rate=1e-5,
        warm_up=2,
        max_prompt_length=256,
        max_response_length=32,
        validate_every=10,
    ),
}
