"""A language model as a policy of the fast engine."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# What a small model's forward passes take on a CPU stays in its caches; a GPU is busy with many rows alone.
ROWS_AT_ONCE = 64 if DEVICE == "cpu" else 512


class TextPolicy:
    """A causal language model in float32 with its tokenizer and chat template, on the GPU where there is one.

    Rows, responses and log-probabilities are on the CPU; several runs may share a GPU.

    Args:
        folder: of the model.
        rows_at_once: forward passes take so many rows at most.
        autocast: compute in bfloat16, as verl's mixed precision does; the weights that are trained stay as they are.
    """

    def __init__(self, folder: Path | str, rows_at_once: int = ROWS_AT_ONCE, autocast: bool = False):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train(False)
        self.model.to(DEVICE)
        self.rows_at_once, self.autocast = rows_at_once, autocast
        self._end = self.tokenizer.eos_token_id
        pad = self.tokenizer.pad_token_id
        self._pad = self._end if pad is None else pad
        self.never = None

    def sample(
        self, rows: Sequence[dict], temperature: float, generator: torch.Generator, max_new_tokens: int
    ) -> list[Tensor]:
        """See `Policy`."""
        model, responses = self._rollout_model(), []
        for start in range(0, len(rows), self.rows_at_once):
            part = rows[start : start + self.rows_at_once]
            responses += self._sample(model, part, temperature, generator, max_new_tokens)
        return responses

    @torch.no_grad()
    def _rollout_model(self) -> torch.nn.Module:
        """The model that samples: with weights in bfloat16, vLLM's default, if passes are computed so; autocast would
        convert every weight again for every token."""
        if not self.autocast:
            return self.model
        model = copy.deepcopy(self.model)
        # Parameters alone: buffers hold the frequencies of rotary positions, which bfloat16 would blur.
        for weight in model.parameters():
            weight.data = weight.data.bfloat16()
        return model

    @torch.no_grad()
    def _sample(self, model, rows, temperature: float, generator: torch.Generator, max_new_tokens: int) -> list[Tensor]:
        prompts = pad_sequence(
            [self.prompt_ids(row) for row in rows], batch_first=True, padding_value=self._pad, padding_side="left"
        )
        lengths = torch.tensor([len(self.prompt_ids(row)) for row in rows])
        mask = (torch.arange(prompts.shape[1])[None] >= prompts.shape[1] - lengths[:, None]).long()
        choice = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        # `generate` draws from the global state alone.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            whole = model.generate(
                **self._placed_inputs(rows, prompts, mask),
                max_new_tokens=max_new_tokens,
                eos_token_id=self._end,
                pad_token_id=self._pad,
                suppress_tokens=self.never,
                **(choice if temperature else {"do_sample": False}),
            )
        return [self._ended(row) for row in whole[:, prompts.shape[1] :].cpu()]

    def _precision(self) -> torch.autocast:
        return torch.autocast(DEVICE, torch.bfloat16, enabled=self.autocast)

    def _ended(self, tokens: Tensor) -> Tensor:
        ends = (tokens == self._end).nonzero()
        return tokens[: int(ends[0]) + 1] if len(ends) else tokens

    def log_probs(self, rows: Sequence[dict], responses: Sequence[Tensor]) -> Tensor:
        """See `Policy`."""
        parts = [
            self._log_probs(rows[start : start + self.rows_at_once], responses[start : start + self.rows_at_once])
            for start in range(0, len(rows), self.rows_at_once)
        ]
        width = max(part.shape[1] for part in parts)
        return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])

    def _log_probs(self, rows, responses) -> Tensor:
        chosen = [
            of_row.gather(1, response[:, None]).squeeze(1)
            for of_row, response in zip(self.distributions(rows, responses), responses, strict=True)
        ]
        return pad_sequence(chosen, batch_first=True)

    def distributions(self, rows: Sequence[dict], responses: Sequence[Tensor]) -> list[Tensor]:
        """(length, vocabulary) log-probabilities at each token of each response, in one pass and with gradient."""
        ids, mask, starts = self.sequences(rows, responses)
        with self._precision():
            logits = self.model(**self._placed_inputs(rows, ids, mask)).logits
        return [
            torch.log_softmax(of_row[start - 1 : start - 1 + len(response)].float(), dim=-1).cpu()
            for of_row, start, response in zip(logits, starts, responses, strict=True)
        ]

    def sequences(self, rows: Sequence[dict], responses: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[int]]:
        """Prompts with their responses, (rows, longest) token ids and mask, and where each response starts."""
        prompts = [self.prompt_ids(row) for row in rows]
        whole = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
        ids = pad_sequence(whole, batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([len(row) for row in whole])
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        return ids, mask, [len(prompt) for prompt in prompts]

    def _placed_inputs(self, rows: Sequence[dict], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {name: values.to(DEVICE) for name, values in self.inputs(rows, ids, mask).items()}

    def inputs(self, rows: Sequence[dict], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """What the model takes for sequences that begin with the rows' prompts."""
        return {"input_ids": ids, "attention_mask": mask}

    def prompt_ids(self, row: dict) -> Tensor:
        """(length,) as verl's agent loop tokenises a row's prompt."""
        ids = self.tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        return torch.tensor(ids, dtype=torch.int64)

    def decode(self, response: Tensor) -> str:
        """See `Policy`."""
        return self.tokenizer.decode(response, skip_special_tokens=True)

    def encode(self, answer: str) -> Tensor:
        """See `Policy`."""
        return torch.tensor([*self.tokenizer.encode(answer, add_special_tokens=False), self._end], dtype=torch.int64)
