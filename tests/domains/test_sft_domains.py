"""Domains that learn reference answers: kind: sft."""

import json

import numpy as np
import pytest

from recap_verl.domains import NTP, Domains

MATH = {"role": "target", "objectives": ["accuracy"]}


def domains(weight_per="objective", **sft) -> Domains:
    return Domains({"math": MATH, "ocr": {"kind": "sft", **sft}}, weight_per)


def test_defaults():
    spec = domains()["ocr"]
    assert (spec.kind, spec.role, spec.source, spec.template) == ("sft", "general", "data", "{}")
    assert spec.is_sft and spec.trained
    assert spec.trained_objectives == (NTP,) == ("ntp",)
    assert spec.weights[NTP] == 1.0
    assert list(spec.objectives) == ["exact_match"] and spec.main_objective == "exact_match"
    # The answer is the whole response: nothing wraps it in tags.
    assert spec.objectives["exact_match"]("Straße ", "Straße") == 1.0
    assert spec.objectives["exact_match"]("Gasse", "Straße") == 0.0


def test_a_generated_domain_is_none():
    spec = domains()["math"]
    assert not spec.is_sft and spec.trained_objectives == ("accuracy",) and NTP not in spec.weights


def test_its_loss_is_a_series_of_losses_beside_the_rewards():
    both = domains()
    assert both.sft == ("ocr",)
    assert both.scheduler_objectives() == {"accuracy": "reward", "ntp": "loss"}
    assert both.prior_weights() == {"accuracy": 1.0, "ntp": 1.0}
    assert domains("domain_objective").scheduler_objectives() == {"math/accuracy": "reward", "ocr/ntp": "loss"}


def test_what_judges_it_in_validation_is_not_trained_on():
    both = domains(objectives={"answer_format": {"weight": 5.0}, "exact_match": {}})
    assert both["ocr"].main_objective == "answer_format" and both["ocr"].weights["answer_format"] == 5.0
    assert set(both.scheduler_objectives()) == {"accuracy", "ntp"}
    # Nor need its prior agree with that of a domain that is trained on the objective.
    assert domains(objectives={"accuracy": {"weight": 9.0}}).prior_weights() == {"accuracy": 1.0, "ntp": 1.0}


WEIGHTS = {
    "nothing": (None, 1.0),
    "an empty list": ([], 1.0),
    "its name": ("ntp", 1.0),
    "its name in a list": (["ntp"], 1.0),
    "no options": ({"ntp": None}, 1.0),
    "empty options": ({"ntp": {}}, 1.0),
    "a weight": ({"ntp": {"weight": 0.25}}, 0.25),
}


@pytest.mark.parametrize(("objectives", "weight"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_the_weight_of_the_loss(objectives, weight):
    spec = domains(objectives=objectives)["ocr"]
    assert spec.weights[NTP] == weight and list(spec.objectives) == ["exact_match"]


def test_the_loss_may_stand_anywhere_among_the_objectives():
    spec = domains(objectives={"ntp": {"weight": 2}, "answer_format": {}})["ocr"]
    assert list(spec.objectives) == ["answer_format"] and spec.weights == {"ntp": 2.0, "answer_format": 1.0}


def test_two_of_them_share_one_weight_or_have_their_own():
    config = {
        "math": MATH,
        "ocr": {"kind": "sft", "objectives": {"ntp": {"weight": 2.0}}},
        "own": {"kind": "sft", "source": "self"},
    }
    with pytest.raises(ValueError, match=r"recap\.domains\.own\.objectives\.ntp\.weight is 1\.0 but another"):
        Domains(config)
    assert Domains(config, "domain_objective").prior_weights() == {"math/accuracy": 1.0, "ocr/ntp": 2.0, "own/ntp": 1.0}
    config["own"]["objectives"] = {"ntp": {"weight": 2.0}}
    weights = {"math/accuracy": 1.5, "ocr/ntp": 0.5, "own/ntp": 1.0}
    assert Domains(config, "domain_objective").domain_weights(weights) == {"math": 1.5, "ocr": 0.5, "own": 1.0}
    assert Domains(config).prior_weights()["ntp"] == 2.0 and Domains(config).sft == ("ocr", "own")


def test_it_may_be_the_target_and_alone():
    alone = Domains({"ocr": {"kind": "sft", "role": "target"}})
    assert alone.targets == ("ocr",) and alone.scheduler_objectives() == {"ntp": "loss"}


def test_a_probe_is_validated_and_never_learnt():
    config = {"math": MATH, "ocr": {"kind": "sft", "role": "probe", "template": "<answer>{}</answer>"}}
    probe = Domains(config)
    assert probe.sft == () and probe["ocr"].is_sft and not probe["ocr"].trained
    assert probe["ocr"].trained_objectives == () and probe.scheduler_objectives() == {"accuracy": "reward"}


def test_a_model_that_writes_what_it_was_taught_is_right():
    """By default validation wants the template too; objectives that are named judge as they say."""
    spec = domains(template="say {}")["ocr"]
    for truth in ("12", json.dumps(["12", "twelve"])):
        assert spec.objectives["exact_match"](spec.reference_answer(truth), truth) == 1.0
    assert spec.objectives["exact_match"]("say twelve", json.dumps(["12", "twelve"])) == 1.0
    assert spec.objectives["exact_match"]("12", "12") == 0.0
    tagged = domains(template="<answer>{}</answer>", objectives=["exact_match"])["ocr"]
    assert tagged.objectives["exact_match"]("It is <answer>12</answer>", "12") == 1.0


@pytest.mark.parametrize("template", ["{}", "<answer>{}</answer>", "{x}{}", r"\boxed{{}}", "a\n{}\nb", "{} {x}"])
def test_templates(template):
    assert domains(template=template)["ocr"].template == template


MISTAKES = {
    "template without a place": (
        {"template": "x"},
        "recap.domains.ocr.template must be text with one {} for the answer",
    ),
    "template with two": ({"template": "{} {}"}, "recap.domains.ocr.template must be text with one {}"),
    "empty template": ({"template": ""}, "recap.domains.ocr.template must be text with one {}"),
    "template null": ({"template": None}, "recap.domains.ocr.template must be text with one {}"),
    "template a number": ({"template": 5}, "recap.domains.ocr.template must be text with one {}"),
    "template a list": ({"template": ["{}"]}, "recap.domains.ocr.template must be text with one {}"),
    "source": ({"source": "base"}, "recap.domains.ocr.source must be one of data, self, but is 'base'"),
    "source null": ({"source": None}, "recap.domains.ocr.source must be one of data, self, but is None"),
    "template of the base model's answers": (
        {"source": "self", "template": "<answer>{}</answer>"},
        "recap.domains.ocr.template would change what the base model wrote",
    ),
    "options of the loss": (
        {"objectives": {"ntp": {"timeout": 1.0}}},
        "recap.domains.ocr.objectives.ntp takes a weight and nothing else",
    ),
    "function of the loss": (
        {"objectives": {"ntp": {"fn": "accuracy"}}},
        "recap.domains.ocr.objectives.ntp takes a weight and nothing else",
    ),
    "loss a number": ({"objectives": {"ntp": 2.0}}, "recap.domains.ocr.objectives.ntp takes a weight"),
    "weight of 0": (
        {"objectives": {"ntp": {"weight": 0}}},
        "recap.domains.ocr.objectives.ntp.weight must be a positive",
    ),
    "weight true": ({"objectives": {"ntp": {"weight": True}}}, "ntp.weight must be a positive number"),
    "objectives a number": ({"objectives": 3}, "recap.domains.ocr.objectives must list names or map names to options"),
    "unknown objective": (
        {"objectives": ["ntp", "acuracy"]},
        "recap.domains.ocr.objectives.acuracy: unknown objective",
    ),
    "unknown key": ({"teacher": "x"}, "recap.domains.ocr has an unknown key 'teacher': known are role"),
}


@pytest.mark.parametrize(("sft", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(sft, message):
    with pytest.raises(ValueError) as error:
        domains(**sft)
    assert message in str(error.value) and "\n" not in str(error.value)


OF_GENERATED_DOMAINS = {
    "template": ({"template": "{}"}, "recap.domains.math.template is for domains that learn reference answers"),
    "source": ({"source": "data"}, "recap.domains.math.source is for domains that learn reference answers"),
    "the loss": ({"objectives": ["accuracy", "ntp"]}, "recap.domains.math.objectives names ntp"),
    "the loss alone": ({"objectives": "ntp"}, "which needs kind: sft"),
}


@pytest.mark.parametrize(("settings", "message"), OF_GENERATED_DOMAINS.values(), ids=OF_GENERATED_DOMAINS.keys())
def test_mistakes_of_generated_domains(settings, message):
    with pytest.raises(ValueError) as error:
        Domains({"math": {**MATH, **settings}})
    assert message in str(error.value) and "sft" in str(error.value)


def with_template(template: str):
    target = {"role": "target", "objectives": ["accuracy"]}
    return Domains({"math": target, "ocr": {"kind": "sft", "template": template}})["ocr"]


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        ("12", "12"),
        (json.dumps("12"), "12"),
        (json.dumps(["first", "second"]), "first"),
        (["first", "second"], "first"),
        (np.array(["first", "second"]), "first"),
        ((3, 4), "3"),
        (0.5, "0.5"),
        (json.dumps("Straße 数学\n{}"), "Straße 数学\n{}"),
        ("[0, 1]", "[0, 1]"),
        ("", ""),
    ],
    ids=str,
)
def test_the_answer_is_the_first_that_counts_as_right(truth, answer):
    assert with_template("{}").reference_answer(truth) == answer
    assert with_template("so: {}!").reference_answer(truth) == f"so: {answer}!"


@pytest.mark.parametrize(
    ("template", "written"), [("{x} {}", "{x} 12"), (r"\boxed{{}}", r"\boxed{12}"), ("%s{}", "%s12")]
)
def test_only_the_empty_braces_of_a_template_are_filled(template, written):
    assert with_template(template).reference_answer("12") == written
