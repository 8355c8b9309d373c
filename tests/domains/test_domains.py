"""Every mistake in recap.domains is one sentence that names the key and how to mend it."""

import pytest

from recap_verl.domains import Domains

MATH = {"role": "target", "data_sources": ["gsm8k", "aime"], "objectives": ["accuracy", "think_format"]}
OCR = {"objectives": {"accuracy": {"timeout": 1.0}, "answer_format": {}}}
PROBE = {"role": "probe", "data_sources": "mmlu", "objectives": "accuracy"}
CONFIG = {"math": MATH, "ocr": OCR, "quiz": PROBE}


def length(response, ground_truth, extra_info, *, words: int = 10):
    return min(1.0, len(response.split()) / words)


def with_objectives(objectives):
    return {"math": {"role": "target", "objectives": objectives}}


def test_defaults_and_short_forms():
    domains = Domains(CONFIG)
    assert list(domains) == ["math", "ocr", "quiz"] and len(domains) == 3
    assert domains.targets == ("math",)
    assert domains["ocr"].role == "general" and domains["ocr"].kind == "rl"
    assert domains["ocr"].data_sources == ("ocr",), "a domain's own name is its default data source"
    assert domains["quiz"].data_sources == ("mmlu",) and list(domains["quiz"].objectives) == ["accuracy"]
    assert domains.data_sources == ("gsm8k", "aime", "ocr", "mmlu")
    assert domains["math"].weights == {"accuracy": 1.0, "think_format": 1.0}


def test_the_first_objective_is_the_main_one():
    assert Domains(with_objectives(["think_format", "accuracy"]))["math"].main_objective == "think_format"
    assert Domains(with_objectives({"answer_format": {}, "accuracy": {}}))["math"].main_objective == "answer_format"


def test_options_reach_the_function():
    fn = f"{__name__}:length"
    domains = Domains(with_objectives({"short": {"fn": fn, "words": 4}, "long": {"fn": fn}}))
    objectives = domains["math"].objectives
    assert objectives["short"]("one two", None) == 0.5
    assert objectives["long"]("one two", None) == 0.2


def test_a_row_finds_its_domain():
    domains = Domains(CONFIG)
    assert domains.of_data_source("aime") is domains["math"]
    with pytest.raises(KeyError) as error:
        domains.of_data_source("chartqa")
    assert "'chartqa' belongs to no domain: add it to recap.domains.<name>.data_sources" in error.value.args[0]


def test_one_weight_per_objective_is_shared_by_the_domains():
    domains = Domains(CONFIG, "objective")
    assert domains.key("math", "accuracy") == domains.key("ocr", "accuracy") == "accuracy"
    assert domains.scheduler_objectives() == dict.fromkeys(["accuracy", "think_format", "answer_format"], "reward")


def test_one_weight_per_domain_and_objective():
    domains = Domains(CONFIG, "domain_objective")
    assert domains.key("ocr", "accuracy") == "ocr/accuracy"
    expected = ["math/accuracy", "math/think_format", "ocr/accuracy", "ocr/answer_format"]
    assert domains.scheduler_objectives() == dict.fromkeys(expected, "reward")


def test_a_probe_has_no_series():
    config = {**CONFIG, "quiz": {"role": "probe", "objectives": {"exact_match": {"weight": 3.0}}}}
    for weight_per in ("objective", "domain_objective"):
        assert not any("exact_match" in key for key in Domains(config, weight_per).prior_weights())
    assert [spec.trained for spec in Domains(config).values()] == [True, True, False]


def test_priors_of_one_objective_must_agree_unless_weights_are_per_domain():
    config = {
        "a": {"role": "target", "objectives": {"accuracy": {"weight": 2}}},
        "b": {"objectives": {"accuracy": {"weight": 1}}},
    }
    with pytest.raises(ValueError, match=r"recap\.domains\.b\.objectives\.accuracy\.weight is 1\.0 but another"):
        Domains(config)
    assert Domains(config, "domain_objective").prior_weights() == {"a/accuracy": 2.0, "b/accuracy": 1.0}
    config["b"]["objectives"]["accuracy"]["weight"] = 2
    assert Domains(config).prior_weights() == {"accuracy": 2.0}


def test_a_probe_may_weigh_its_objectives_as_it_likes():
    config = {**CONFIG, "quiz": {"role": "probe", "objectives": {"accuracy": {"weight": 9.0}}}}
    assert Domains(config).prior_weights()["accuracy"] == 1.0


@pytest.mark.parametrize("options", [{"weight": w} for w in (0, -1, True, "2", float("nan"), float("inf"), None)])
def test_weights_are_positive_numbers(options):
    with pytest.raises(ValueError, match=r"recap\.domains\.math\.objectives\.accuracy\.weight must be a positive"):
        Domains(with_objectives({"accuracy": options}))


MISTAKES = {
    "nothing": (None, "recap.domains is empty: name at least one domain with role: target"),
    "empty": ({}, "recap.domains is empty"),
    "a list": ([MATH], "recap.domains is empty"),
    "a number for a name": ({1: MATH}, "a domain's name must be text, but one is 1; put it in quotes"),
    "a blank name": ({" ": MATH}, "a domain's name must be text"),
    "no mapping": ({"math": "accuracy"}, "recap.domains.math must be a mapping with role, data_sources"),
    "unknown key": ({"math": {**MATH, "sources": "x"}}, "recap.domains.math has an unknown key 'sources': known are"),
    "role": ({"math": {**MATH, "role": "main"}}, "recap.domains.math.role must be one of target, general, probe"),
    "kind": ({"math": {**MATH, "kind": "dpo"}}, "recap.domains.math.kind must be one of rl, sft, but is 'dpo'"),
    "no target": ({"ocr": OCR}, "no domain with role: target: set recap.domains.<name>.role=target"),
    "no objectives": ({"math": {"role": "target"}}, "recap.domains.math.objectives is empty: name at least one"),
    "empty objectives": (with_objectives([]), "recap.domains.math.objectives is empty"),
    "objectives a number": (with_objectives(3), "recap.domains.math.objectives must list names or map"),
    "objectives mixed": (with_objectives(["accuracy", {"think_format": {}}]), "math.objectives must list"),
    "unknown objective": (
        with_objectives(["acuracy"]),
        "recap.domains.math.objectives.acuracy: unknown objective 'acuracy'; known are accuracy",
    ),
    "unknown option": (
        with_objectives({"accuracy": {"seconds": 3}}),
        "recap.domains.math.objectives.accuracy: objective 'accuracy' has no option 'seconds'; it takes",
    ),
    "option of another type": (
        with_objectives({"accuracy": {"timeout": "long"}}),
        "recap.domains.math.objectives.accuracy: objective 'accuracy': option 'timeout' must be a",
    ),
    "option no text": (with_objectives({"accuracy": {1: 2}}), "recap.domains.math.objectives.accuracy: "),
    "options a number": (with_objectives({"accuracy": 2.0}), "math.objectives.accuracy must be a mapping"),
    "options zero": (with_objectives({"accuracy": 0}), "recap.domains.math.objectives.accuracy must be a mapping"),
    "options a list": (with_objectives({"accuracy": ["x"]}), "math.objectives.accuracy must be a mapping"),
    "fn no text": (with_objectives({"mine": {"fn": 3}}), "recap.domains.math.objectives.mine.fn must be a registered"),
    "fn missing": (with_objectives({"mine": {"fn": "no_such_pkg:f"}}), "module 'no_such_pkg' cannot be imported"),
    "objective with a slash": (with_objectives({"a/b": {"fn": "accuracy"}}), "name must be text without '/'"),
    "objective a number": (with_objectives({1: {}}), "math.objectives.1: an objective's name must be text"),
    "sources empty": ({"math": {**MATH, "data_sources": []}}, "recap.domains.math.data_sources must list at least one"),
    "sources a number": ({"math": {**MATH, "data_sources": 5}}, "recap.domains.math.data_sources must list"),
    "sources of numbers": ({"math": {**MATH, "data_sources": [5]}}, "recap.domains.math.data_sources must list"),
    "source twice": (
        {"math": MATH, "more": {**OCR, "data_sources": ["aime"]}},
        "data source 'aime' stands in both recap.domains.math and recap.domains.more: a row belongs to one domain",
    ),
}


@pytest.mark.parametrize(("config", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_sentence_that_names_the_key(config, message):
    with pytest.raises(ValueError) as error:
        Domains(config)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_weight_per_is_checked():
    with pytest.raises(ValueError, match=r"recap\.weight_per must be one of objective, domain_objective, but is"):
        Domains(CONFIG, "domain")


TRAIN, VAL = {"gsm8k": 5, "ocr": 3}, {"mmlu": 2}


def test_data_that_fits():
    Domains(CONFIG).check_data(TRAIN, VAL)
    Domains(CONFIG).check_data(TRAIN, {**VAL, "aime": 4, "ocr": 1})


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ({**TRAIN, "sat": 7}, VAL, "data.train_files: 7 rows have data_source 'sat', which belongs to no domain: add"),
        (TRAIN, {**VAL, "sat": 7}, "data.val_files: 7 rows have data_source 'sat', which belongs to no domain: add"),
        ({**TRAIN, "mmlu": 1}, VAL, "data.train_files: data_source 'mmlu' belongs to the probe recap.domains.quiz"),
        ({"gsm8k": 5}, {**VAL, "ocr": 3}, "recap.domains.ocr has no rows: data.train_files hold data_source 'gsm8k'"),
        ({"ocr": 5}, VAL, "recap.domains.math has no rows: data.train_files hold data_source 'ocr', the domain asks"),
        (TRAIN, {"gsm8k": 1}, "recap.domains.quiz has no rows: data.val_files hold data_source 'gsm8k'"),
        ({}, VAL, "data.train_files hold data_source (none)"),
    ],
)
def test_data_that_does_not_fit(train, val, message):
    with pytest.raises(ValueError) as error:
        Domains(CONFIG).check_data(train, val)
    assert message in str(error.value)


def test_a_domain_whose_rows_were_all_filtered_out_is_missed():
    domains = Domains(CONFIG)
    domains.check_loaded({"math", "ocr"})
    with pytest.raises(ValueError, match=r"recap\.domains\.ocr has no training rows left.*data\.max_prompt_length"):
        domains.check_loaded({"math"})
