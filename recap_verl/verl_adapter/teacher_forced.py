"""The agent loop of next-token rows: the reference answer stands where generation would have written one.

The driver hands each row its answer in the column `ntp_answer` (verl_adapter/hybrid_data.py).
"""

import copy
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register

from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION

NAME = "recap_teacher_forced"
ANSWER = "ntp_answer"
# Of extra_fields: whether the answer was longer than the response may be.
CUT = "ntp_cut"


@register(NAME)
class TeacherForcedAgentLoop(AgentLoopBase):
    """Answers a prompt with its reference answer and the chat template's end of turn, without the rollout engine.

    The prompt is built by the calls of verl 0.9.1's `SingleTurnAgentLoop`, images included. `response_mask` is 0
    throughout: to everything in verl that averages over responses, the row is not there.
    """

    async def run(self, sampling_params: dict[str, Any], **row) -> AgentLoopOutput:
        """One row's output; `row` holds the columns of the data set."""
        messages = list(row["raw_prompt"])
        multi_modal_data = await self.process_multi_modal_info(messages)
        images, videos, audios = (multi_modal_data.get(kind) for kind in ("images", "videos", "audios"))
        self._assert_mm_supported(bool(multi_modal_data))
        features = {}
        prompt_ids = await self.ct_build_initial_tokens(
            messages, images=images, videos=videos, audios=audios, mm_inputs_out=features
        )
        merged, mask, _ = await self.ct_merge_assistant_token(prompt_ids, self._answer_ids(row), [])
        prompt_length, length = len(merged.token_ids) - len(mask), self.rollout_config.response_length
        response_ids = merged.token_ids[prompt_length:][:length]
        # The version of the weights that a rollout submitted now would be generated with.
        version = max(0, row["global_steps"] - 1)
        return AgentLoopOutput(
            prompt_ids=merged.token_ids[:prompt_length],
            response_ids=response_ids,
            response_mask=[0] * len(response_ids),
            # There is no rollout policy to correct for; generated rows have this field only when it is asked for.
            response_logprobs=[0.0] * len(response_ids) if sampling_params.get("logprobs") else None,
            multi_modal_data=multi_modal_data,
            mm_processor_kwargs=self._get_mm_processor_kwargs(audios),
            mm_processor_output=self.build_sglang_video_payload(videos, features),
            # Keeps the reward loop away: there is nothing to score.
            reward_score=0.0,
            num_turns=2,
            metrics={"num_preempted": -1},
            extra_fields={
                "turn_scores": [],
                "tool_rewards": [],
                "reward_extra_info": {"acc": 0.0},
                "min_global_steps": version,
                "max_global_steps": version,
                CUT: len(mask) > length,
            },
        )

    def _answer_ids(self, row: dict[str, Any]) -> list[int]:
        """The reference answer's tokens and the end of turn; stored ones as they are, with their distributions."""
        if row[DISTRIBUTION] is not None:
            return list(row[DISTRIBUTION]["token_ids"])
        # An answer that spells a control token is text: it must end no turn and open no image.
        text = _own_copy(self.tokenizer).encode(row[ANSWER], add_special_tokens=False, split_special_tokens=True)
        return [*text, end_of_turn(self.tokenizer)]


@lru_cache
def _own_copy(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer for this thread alone: `split_special_tokens` is a state of the tokenizer, which cannot change while
    verl's other threads build prompts with it ("Already borrowed")."""
    return copy.deepcopy(tokenizer)


@lru_cache
def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template puts behind an assistant's turn, the tokenizer's own end without a template.

    (A base model's end of text is often not the end of turn of its template.)
    """
    if tokenizer.chat_template is not None:
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        first = tokenizer.encode(_behind_an_answer(tokenizer).lstrip(), add_special_tokens=False)[:1]
        if first and first[0] in special:
            return first[0]
    return tokenizer.eos_token_id


def _behind_an_answer(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes after the text of an assistant's turn; some templates only know text in parts."""
    mark = "recap-reference-answer"
    for content in (mark, [{"type": "text", "text": mark}]):
        question = "?" if content is mark else [{"type": "text", "text": "?"}]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": content}]
        _, found, behind = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(mark)
        if found:
            return behind
    return ""
