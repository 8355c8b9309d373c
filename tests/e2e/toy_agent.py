"""An agent loop that loses some prompts, for the end-to-end tests."""

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop


class FlakyAgentLoop(SingleTurnAgentLoop):
    """Fails on every fifth training prompt."""

    async def run(self, sampling_params, **kwargs):
        if kwargs["extra_info"]["split"] == "train" and kwargs["extra_info"]["index"] % 5 == 0:
            raise RuntimeError("this rollout is lost")
        return await super().run(sampling_params, **kwargs)
