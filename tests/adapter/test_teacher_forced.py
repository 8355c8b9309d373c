"""The agent loop that answers with the reference answer, held against verl's own single-turn loop."""

import asyncio
import copy

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from transformers import AddedToken
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, _agent_loop_registry
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.trainer.ppo.v1 import replay_buffer
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl.workers.rollout.replica import TokenOutput

from recap_verl.lab.tiny import CHATML_TEMPLATE, END_OF_TEXT, TURN_END, TURN_START, build_tokenizer
from recap_verl.lab.tiny_vl import IMAGE, build_processor
from recap_verl.verl_adapter.ntp_fields import DISTRIBUTION
from recap_verl.verl_adapter.teacher_forced import ANSWER, CUT, NAME, TeacherForcedAgentLoop, end_of_turn

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read the sign: «Straße»"}]
THINKING_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# What several vision-language models have: content is a list of parts.
PARTS_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}"
)


def tokenizer(template: str | None = CHATML_TEMPLATE, eos: str | None = TURN_END):
    built = build_tokenizer()
    built.chat_template, built.eos_token = template, eos
    return built


def loop_of(
    cls, server=None, tokens=None, processor=None, prompt_length=256, response_length=32, template_options=None
):
    config = OmegaConf.create(
        {
            "actor_rollout_ref": {"rollout": {"prompt_length": prompt_length, "response_length": response_length}},
            "data": {"apply_chat_template_kwargs": template_options or {}},
        }
    )
    return cls(
        trainer_config=DictConfigWrap(config),
        server_manager=server,
        tokenizer=tokens or tokenizer(),
        processor=processor,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type="qwen2" if processor is None else "qwen2_5_vl",
        tools=[],
    )


def row(answer: str, prompt=PROMPT, global_steps: int = 3, stored: dict | None = None) -> dict:
    """The columns that verl hands to an agent loop."""
    return {
        "raw_prompt": prompt,
        "data_source": "ocr",
        "reward_model": {"ground_truth": answer},
        "index": 0,
        "uid": "u",
        "session_id": 0,
        "global_steps": global_steps,
        ANSWER: answer,
        DISTRIBUTION: stored,
    }


def teacher_forced(answer: str, logprobs: bool = False, prompt=PROMPT, global_steps: int = 3, stored=None, **loop):
    """One row's output. There is no server: nothing can be generated."""

    async def run() -> AgentLoopOutput:
        agent_loop = loop_of(TeacherForcedAgentLoop, **loop)
        return await agent_loop.run({"logprobs": logprobs}, **row(answer, prompt, global_steps, stored))

    return asyncio.run(run())


class Server:
    """Answers every request with the same tokens, as verl's client does, and remembers the prompt."""

    def __init__(self, token_ids: list[int]):
        self.token_ids = token_ids

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_) -> TokenOutput:
        self.prompt_ids = list(prompt_ids)
        log_probs = [-0.5] * len(self.token_ids) if sampling_params["logprobs"] else None
        return TokenOutput(
            token_ids=self.token_ids,
            log_probs=log_probs,
            extra_fields={"min_global_steps": 2, "max_global_steps": 2},
        )


def generated(token_ids: list[int], logprobs: bool = False, prompt=PROMPT, **loop):
    """verl's output for a model that answers `token_ids`, and the prompt it was asked."""

    async def run():
        server = Server(token_ids)
        output = await loop_of(SingleTurnAgentLoop, server, **loop).run({"logprobs": logprobs}, **row("", prompt))
        return output, server.prompt_ids

    return asyncio.run(run())


# ----------------------------------------------------------------- end of turn


def named(tokens, name: str) -> int:
    return tokens.convert_tokens_to_ids(name)


def test_the_end_of_turn_of_chatml():
    tokens = tokenizer()
    assert end_of_turn(tokens) == named(tokens, TURN_END) == tokens.eos_token_id


@pytest.mark.parametrize("template", [CHATML_TEMPLATE, THINKING_TEMPLATE], ids=["chatml", "thinking"])
def test_the_end_of_turn_is_the_templates_and_not_the_end_of_text(template):
    tokens = tokenizer(template, eos=END_OF_TEXT)
    assert end_of_turn(tokens) == named(tokens, TURN_END) != tokens.eos_token_id


def test_the_end_of_turn_may_be_a_token_that_was_added_and_is_not_special():
    tokens = tokenizer(CHATML_TEMPLATE.replace(TURN_END, "<end_of_turn>"), eos=END_OF_TEXT)
    tokens.add_tokens([AddedToken("<end_of_turn>", special=False, normalized=False)])
    assert end_of_turn(tokens) == named(tokens, "<end_of_turn>")


def test_white_space_may_stand_before_the_end_of_turn():
    tokens = tokenizer(CHATML_TEMPLATE.replace(TURN_END, "\n" + TURN_END), eos=END_OF_TEXT)
    assert end_of_turn(tokens) == named(tokens, TURN_END)


def test_a_template_without_a_token_behind_the_turn():
    tokens = tokenizer("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}", eos=END_OF_TEXT)
    assert end_of_turn(tokens) == tokens.eos_token_id


def test_a_template_that_ends_with_the_turn():
    tokens = tokenizer("{% for m in messages %}{{ m['content'] }}{% endfor %}", eos=END_OF_TEXT)
    assert end_of_turn(tokens) == tokens.eos_token_id


def test_a_tokenizer_without_a_template():
    assert end_of_turn(tokenizer(None, eos=END_OF_TEXT)) == named(tokenizer(), END_OF_TEXT)


def test_a_template_that_wants_content_in_parts():
    """It writes nothing of a bare text, and must not be taken to end turns with what it begins them with."""
    tokens = tokenizer(PARTS_TEMPLATE, eos=END_OF_TEXT)
    assert end_of_turn(tokens) != named(tokens, TURN_START)
    assert end_of_turn(tokens) == named(tokens, TURN_END)


# ----------------------------------------------------------------- prompt and response


def test_it_is_registered_under_its_name():
    cls = TeacherForcedAgentLoop
    assert _agent_loop_registry[NAME] == {"_target_": f"{cls.__module__}.{cls.__qualname__}"}


def test_the_answer_stands_where_the_model_would_have_written():
    tokens = tokenizer()
    output = teacher_forced("Straße")
    assert output.response_ids == [*"Straße".encode(), named(tokens, TURN_END)]
    assert output.response_mask == [0] * len(output.response_ids), "to RL, the row is not there"
    assert output.reward_score == 0.0, "or verl would send it to the reward manager"
    assert not output.extra_fields[CUT]
    whole = tokens.apply_chat_template([*PROMPT, {"role": "assistant", "content": "Straße"}], return_dict=False)
    # The template ends every turn with a newline that no model writes.
    assert [*output.prompt_ids, *output.response_ids, ord("\n")] == whole


@pytest.mark.parametrize("options", [{}, {"enable_thinking": False}, {"enable_thinking": True}], ids=str)
@pytest.mark.parametrize("template", [CHATML_TEMPLATE, THINKING_TEMPLATE], ids=["chatml", "thinking"])
def test_the_prompt_is_verls(template, options):
    tokens = tokenizer(template)
    forced = teacher_forced("A", tokens=tokens, template_options=options)
    output, asked = generated(forced.response_ids, tokens=tokens, template_options=options)
    assert forced.prompt_ids == output.prompt_ids == asked
    if template == THINKING_TEMPLATE:
        assert ("</think>" in tokens.decode(asked)) == (options.get("enable_thinking") is False)


@pytest.mark.parametrize("prompt_length", [1, 20, 64])
def test_a_long_prompt_is_cut_as_verl_cuts_it(prompt_length):
    prompt = [{"role": "user", "content": "word " * 30}]
    forced = teacher_forced("A", prompt=prompt, prompt_length=prompt_length)
    _, asked = generated([65], prompt=prompt, prompt_length=prompt_length)
    assert forced.prompt_ids == asked and len(asked) == prompt_length


ANSWERS = {
    "empty": "",
    "white space": " \n\t ",
    "unicode": "数学 ≥ 🙂 é",
    "surrounded": "  12 ",
    "braces": "{}{{x}}",
    "long": "x" * 31,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_every_answer_is_written_as_it_stands(answer):
    output = teacher_forced(answer)
    assert output.response_ids == [*answer.encode(), named(tokenizer(), TURN_END)]
    assert output.as_dict()["rm_scores"].tolist() == [0.0] * len(output.response_ids)


@pytest.mark.parametrize(("size", "cut"), [(31, False), (32, True), (33, True), (500, True)])
def test_a_long_answer_is_cut_and_says_so(size, cut):
    """Cut, it does not end: the model must not learn to stop there."""
    output = teacher_forced("y" * size, logprobs=True)
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) == 32
    assert output.extra_fields[CUT] is cut
    assert (output.response_ids[-1] == named(tokenizer(), TURN_END)) is not cut


@pytest.mark.parametrize("name", [TURN_END, TURN_START, END_OF_TEXT])
def test_text_that_names_a_control_token_stays_text(name):
    """A data set's answer must not end turns in its middle, nor write image tokens that no image fills."""
    output = teacher_forced(f"a {name} b", response_length=64)
    assert output.response_ids == [*f"a {name} b".encode(), named(tokenizer(), TURN_END)]


def test_tokens_that_a_model_writes_in_its_answers_stay_tokens():
    tokens = tokenizer()
    tokens.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    output = teacher_forced("<think>a", tokens=tokens)
    assert output.response_ids == [named(tokens, "<think>"), ord("a"), named(tokens, TURN_END)]


def test_stored_tokens_are_taken_as_they_are():
    """Their distributions belong to these tokens, which the answer's text need not encode to."""
    stored = {"token_ids": [72, 105, named(tokenizer(), TURN_END)], "topk_ids": [[1]] * 3}
    output = teacher_forced("Hi", stored=stored)
    assert output.response_ids == stored["token_ids"] and output.response_mask == [0, 0, 0]
    output = teacher_forced("Hi", stored=stored, response_length=2)
    assert output.response_ids == [72, 105] and output.extra_fields[CUT] is True
    assert len(stored["token_ids"]) == 3


def vision_loop() -> dict:
    processor = build_processor()
    return {"tokens": processor.tokenizer, "processor": processor, "response_length": 64}


def image_prompt() -> list[dict]:
    image = {"type": "image", "image": Image.new("RGB", (56, 56), "red")}
    return [{"role": "user", "content": [image, {"type": "text", "text": "Read it."}]}]


def test_images_go_into_the_prompt_as_verl_puts_them():
    loop = vision_loop()
    forced = teacher_forced("red", prompt=image_prompt(), **loop)
    output, asked = generated([65], prompt=image_prompt(), **loop)
    assert forced.prompt_ids == output.prompt_ids == asked
    assert asked.count(named(loop["tokens"], IMAGE)) == 4
    assert forced.as_dict().keys() == {*output.as_dict(), "rm_scores"}
    assert len(forced.multi_modal_data["images"]) == len(output.multi_modal_data["images"]) == 1
    assert forced.mm_processor_kwargs == output.mm_processor_kwargs


def test_the_name_of_the_image_token_in_an_answer_is_no_image():
    """The model would be given more places for images than images, and refuse the whole batch."""
    loop = vision_loop()
    forced = teacher_forced(f"red {IMAGE}", prompt=image_prompt(), **loop)
    assert named(loop["tokens"], IMAGE) not in forced.response_ids


# ----------------------------------------------------------------- beside generated rows


@pytest.mark.parametrize("logprobs", [False, True])
def test_rows_have_the_fields_of_generated_rows(logprobs):
    """TransferQueue gives a batch no field that only some of its rows have."""
    forced = teacher_forced("Straße", logprobs)
    output, _ = generated(forced.response_ids, logprobs)
    output.reward_score = 1.0  # verl's worker has it scored, and adds reward_extra_info
    fields, theirs = forced.as_dict(), output.as_dict()
    assert fields.keys() == theirs.keys()
    assert ("rollout_log_probs" in fields) is logprobs
    for name, value in theirs.items():
        assert type(fields[name]) is type(value), name
        if isinstance(value, torch.Tensor):
            assert (fields[name].shape, fields[name].dtype) == (value.shape, value.dtype), name
    assert theirs["extra_fields"].keys() <= fields["extra_fields"].keys()
    assert "acc" in fields["extra_fields"]["reward_extra_info"]
    batch = list_of_dict_to_tensordict([fields, {**theirs, "responses": theirs["responses"][:3]}])
    assert len(batch) == 2


@pytest.mark.parametrize("metric", ["reward", "acc"])
def test_verls_filter_of_groups_keeps_them(metric, monkeypatch):
    """It drops groups whose rows all have one score, of which a row alone is none."""
    fields = teacher_forced("A").as_dict()
    other = copy.deepcopy(fields)
    queue = {"one_0_0": fields, "two_0_0": fields, "two_1_0": other}

    def kv_batch_get(keys, partition_id, select_fields):
        return {name: [queue[key][name] for key in keys] for name in select_fields}

    monkeypatch.setattr(replay_buffer.tq, "kv_batch_get", kv_batch_get)
    buffer = replay_buffer.ReplayBuffer(
        "sync", {}, None, "drop", {}, refill_fn=lambda count: None, filter_groups_metric=metric
    )
    buffer.finished_keys["train"] = {"one", "two"}
    buffer.partitions["train"] = {key: {} for key in queue}
    assert buffer._dapo_filtered_keys("train")[0] == {"two"}


def test_no_logprobs_unless_they_are_asked_for():
    assert teacher_forced("A").response_logprobs is None
    assert teacher_forced("A", logprobs=True).response_logprobs == [0.0, 0.0]


@pytest.mark.parametrize(("global_steps", "version"), [(0, 0), (1, 0), (7, 6)])
def test_the_version_of_the_weights(global_steps, version):
    extra = teacher_forced("A", global_steps=global_steps).extra_fields
    assert (extra["min_global_steps"], extra["max_global_steps"]) == (version, version)


def test_two_rows_share_nothing():
    one, other = teacher_forced("A"), teacher_forced("A")
    one.extra_fields["reward_extra_info"]["acc"] = 1.0
    one.extra_fields["turn_scores"].append(1.0)
    assert other.extra_fields["reward_extra_info"] == {"acc": 0.0} and other.extra_fields["turn_scores"] == []


def test_the_prompt_itself_is_left_as_it_was():
    prompt = [dict(message) for message in PROMPT]
    teacher_forced("A", prompt=prompt)
    assert prompt == PROMPT
