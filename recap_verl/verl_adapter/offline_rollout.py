"""Answers of a model that is not being trained: vLLM by itself, with the prompts that verl's rollout would see.

verl 0.9.1 turns a row into tokens in ``experimental/agent_loop`` (``single_turn_agent_loop.py``, and
``ct_build_initial_tokens`` of ``agent_loop.py``) and hands them to vLLM in
``workers/rollout/vllm_rollout/vllm_async_server.py:generate``; the same helpers are called here in the same order.
"""

import atexit
import contextlib
import hashlib
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

# Before vLLM reads its environment. One process instead of two: requests are then scheduled in the same order in every
# run, and nothing outlives a killed run. vLLM's log leaves stdout to the command's own words, and its warnings about
# threads, one per request on a CPU, are left out.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")

from omegaconf import OmegaConf
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder
from verl.workers.config import HFModelConfig
from verl.workers.rollout.utils import (
    get_max_position_embeddings,
    get_vision_placeholder_token_ids,
    qwen2_5_vl_dedup_image_tokens,
)

from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.parts import Answer
from recap_verl.self_replay.settings import Generation
from recap_verl.verl_adapter.cpu import compat, platform

# The lowest that vLLM takes.
_NEVER = -100.0


class OfflineRollout:
    """A model and the prompts it is asked; see ``recap_verl.self_replay.run.Rollout``.

    Args:
        prompts: the parquet file, read by verl's own data set.

    Raises SelfReplayError when the model's files cannot be read or its context is too short.
    """

    def __init__(
        self,
        prompts: Path,
        generation: Generation,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
    ):
        self.generation = generation
        self._parallel = {
            "tensor_parallel_size": tensor_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
        }
        self._model = _load_model_config(generation.model)
        self._check_limits()
        self._builder = create_continuous_token_builder(
            self._model.tokenizer,
            hf_model_type=self._model.hf_config.model_type,
            chat_template_kwargs=generation.chat_template_kwargs,
            mm_processor_kwargs=generation.mm_processor_kwargs,
            processor=self._model.processor,
        )
        config = OmegaConf.create({"filter_overlong_prompts": False})
        with contextlib.redirect_stdout(sys.stderr):
            self._dataset = RLHFDataset(str(prompts), self._model.tokenizer, config, self._model.processor)

    def check(self, rows: range) -> None:
        """Render the first of `rows` and open every image; raise SelfReplayError with the row that fails."""
        self.prompt(rows[0])
        if self._dataset.image_key in self._dataset.dataframe.column_names:
            for row in rows:
                self._messages_and_images(row)

    def answer(self, rows: range) -> list[Answer]:
        """Ask the model for n answers to each of `rows`; the first question starts vLLM."""
        prompts = {row: self.prompt(row) for row in rows}
        asked = [row for row, (tokens, _) in prompts.items() if len(tokens) <= self.generation.max_prompt_length]
        outputs = self._generate([self.engine_prompt(*prompts[row]) for row in asked], asked) if asked else []
        by_row = dict(zip(asked, outputs, strict=True))
        return [answer for row in rows for answer in self._answers(row, by_row.get(row))]

    def prompt(self, row: int) -> tuple[list[int], list[Any] | None]:
        """Token ids, images expanded to their placeholders, and the images of a row; None where it has none."""
        messages, images = self._messages_and_images(row)
        with self._naming(row):
            return self._builder.build_initial_tokens(messages, images=images), images

    def engine_prompt(self, tokens: list[int], images: list[Any] | None) -> dict[str, Any]:
        """A prompt as vLLM takes it: one placeholder per image, which vLLM expands itself."""
        prompt = {
            "prompt_token_ids": qwen2_5_vl_dedup_image_tokens(tokens, self._model.processor),
            "multi_modal_data": {} if images is None else {"image": images},
        }
        if self.generation.mm_processor_kwargs:
            prompt["mm_processor_kwargs"] = self.generation.mm_processor_kwargs
        return prompt

    def _messages_and_images(self, row: int) -> tuple[list[dict], list[Any] | None]:
        with self._naming(row):
            messages = list(self._dataset[row]["raw_prompt"])
            processor = self._model.processor
            if processor is None:
                return messages, None
            # AgentLoopBase.process_multi_modal_info asks by the processor's patch size too, in a thread.
            patch_size = getattr(processor.image_processor, "patch_size", 14)
            images, videos, audios = self._dataset._process_multi_modal_info(messages, patch_size, self._dataset.config)
            if videos or audios:
                raise SelfReplayError(f"the prompt in row {row} has video or audio: only images are answered")
            return messages, images

    @contextlib.contextmanager
    def _naming(self, row: int):
        """Whatever verl, PIL or a chat template raises becomes a sentence that names the row."""
        try:
            yield
        except SelfReplayError:
            raise
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise SelfReplayError(f"the prompt in row {row} cannot be prepared for the model ({what})") from error

    def _check_limits(self) -> None:
        length = self.generation.max_prompt_length + self.generation.max_response_length
        longest = get_max_position_embeddings(self._model.hf_config)
        if length > longest:
            raise SelfReplayError(
                f"--max-prompt-length and --max-response-length add up to {length}, but {self.generation.model} takes "
                f"{longest} tokens: lower one of them"
            )
        vocabulary = self._model.hf_config.get_text_config().vocab_size
        if self.generation.top_k > vocabulary:
            raise SelfReplayError(f"--top-k must be at most {vocabulary}, the tokens that the model knows")

    @cached_property
    def _engine(self):
        on_cpu = platform.is_selected()
        if on_cpu:
            compat.set_environment()
        from vllm import LLM

        atexit.register(_mute_stderr)
        return LLM(
            self.generation.model,
            dtype=self.generation.dtype,
            seed=self.generation.seed,
            max_model_len=self.generation.max_prompt_length + self.generation.max_response_length,
            enforce_eager=on_cpu,
            # Of the raw logits, before temperature: the distribution at temperature 1.
            logprobs_mode="raw_logprobs",
            max_logprobs=max(20, self.generation.top_k),
            **self._parallel,
        )

    def _generate(self, prompts: list[dict[str, Any]], rows: list[int]) -> list:
        """vLLM's outputs, in order.

        What a batch leaves in the caches would reach the last bits of the next one's log-probabilities, and a resumed
        run has no such caches: they are emptied.
        """
        self._engine.reset_prefix_cache()
        self._engine.reset_mm_cache()
        self._engine.llm_engine.reset_encoder_cache()
        return self._engine.generate(prompts, [self._sampling_params(row) for row in rows], use_tqdm=False)

    def _sampling_params(self, row: int):
        from vllm import SamplingParams

        return SamplingParams(
            n=self.generation.n,
            temperature=self.generation.temperature,
            max_tokens=self.generation.max_response_length,
            seed=_seed_of_row(self.generation.seed, row) if self.generation.temperature else None,
            logprobs=self.generation.top_k or None,
            flat_logprobs=True,
            # verl's rollout forbids these too: a placeholder without an image breaks the training step.
            logit_bias=dict.fromkeys(get_vision_placeholder_token_ids(self._model.processor), _NEVER) or None,
            detokenize=False,
        )

    def _answers(self, row: int, output) -> list[Answer]:
        """The answers in vLLM's `output`; None stands for a prompt that was not asked."""
        if output is None:
            return [Answer(row)]
        return [self._answer(row, sample, completion) for sample, completion in enumerate(output.outputs)]

    def _answer(self, row: int, sample: int, completion) -> Answer:
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended the answer to row {row} with {completion.finish_reason!r}")
        token_ids, ended = list(completion.token_ids), completion.finish_reason == "stop"
        topk_ids = topk_log_probs = None
        if self.generation.top_k:
            topk_ids = _without_sampled(completion.logprobs, completion.logprobs.token_ids)
            topk_log_probs = _without_sampled(completion.logprobs, completion.logprobs.logprobs)
        spoken = token_ids[:-1] if ended else token_ids
        # With special tokens: some models speak in them (boxes), and the tokenizer reads them back as tokens.
        text = self._model.tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Answer(row, sample, text, token_ids, ended, topk_ids, topk_log_probs)


def _mute_stderr() -> None:
    """nanobind lists what triton leaks once the interpreter has ended: thirty lines below the command's last word."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _load_model_config(model: str) -> HFModelConfig:
    try:
        # The attention is vLLM's own business; verl's default would ask for flash attention.
        return HFModelConfig(path=model, override_config={"attn_implementation": "sdpa"})
    except (OSError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SelfReplayError(f"--model {model} cannot be loaded ({reason}): is it complete?") from error


def _seed_of_row(seed: int, row: int) -> int:
    """vLLM adds the sample's number: neighbouring rows with neighbouring seeds would share their samples' noise."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{row}".encode()).digest()[:6])


def _without_sampled(logprobs, values: list) -> list[list]:
    """Split a flat list of vLLM's by position; each begins with the sampled token, then the K most likely."""
    return [values[start + 1 : end] for start, end in zip(logprobs.start_indices, logprobs.end_indices, strict=True)]
