"""`python -m data_prep domains`: a recipe is a list of names."""

import pytest
import yaml
from typer.testing import CliRunner

from data_prep.__main__ import app
from data_prep.dataset import SETTINGS, all_datasets
from data_prep.prompts import STYLES
from recap_verl.domains import Domains

TRAINED = [name for name, each in all_datasets().items() if each.role != "probe"]
PROBES = [name for name, each in all_datasets().items() if each.role == "probe"]


def printed(*arguments):
    result = CliRunner().invoke(app, ["domains", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize("name", list(all_datasets()))
def test_every_data_set_has_a_snippet_that_loads(name):
    dataset = all_datasets()[name]
    text, _ = printed(name if name in TRAINED else "gsm8k", name)
    domains = Domains(yaml.safe_load(text))
    assert set(domains) == {name if name in TRAINED else "gsm8k", name}
    assert f"# prompts: {dataset.style}; licence: {dataset.licence}\n{name}:\n" in text
    spec = domains[name]
    assert spec.data_sources == dataset.data_sources and spec.is_sft == (dataset.kind == "sft")
    # Its format is asked for and judged together.
    form = {"think": "think_format", "answer": "answer_format", "plain": None}[dataset.style]
    judged = {objective for objective in spec.objectives if objective.endswith("_format")}
    assert judged == (set() if spec.is_sft or form is None else {form})
    assert spec.role == ("target" if name in TRAINED and set(domains) == {name} else dataset.role)


def test_all_of_them_together():
    text, notes = printed(*all_datasets())
    assert {name: spec.role for name, spec in Domains(yaml.safe_load(text)).items()} == {
        name: each.role for name, each in all_datasets().items()
    }
    assert notes == ""


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_what_all_writes_for_it(setting):
    text, _ = printed("--setting", setting)
    uses = {name: each for name, each in all_datasets().items() if setting in each.settings}
    assert yaml.safe_load(text) == {name: each.domain(each.settings[setting]) for name, each in uses.items()}


def test_the_first_that_can_becomes_the_target():
    text, notes = printed("mathvista", "refcoco", "lisa")
    assert Domains(yaml.safe_load(text)).targets == ("refcoco",)
    assert notes == "data_prep: refcoco becomes the target, since none of these is one: choose with --role\n"
    assert Domains(yaml.safe_load(printed("refcoco", "lisa", "--role", "lisa=target")[0])).targets == ("lisa",)


def test_probes_alone_are_a_snippet_for_another_file():
    text, notes = printed("mathvista", "ai2d")
    assert list(yaml.safe_load(text)) == ["mathvista", "ai2d"] and "a run needs a target as well" in notes
    Domains({**yaml.safe_load(printed("gsm8k")[0]), **yaml.safe_load(text)})


@pytest.mark.parametrize("style", STYLES)
def test_the_style_of_the_files(style):
    text, _ = printed("sat", "llava-ocr", "--style", f"sat={style}", "--style", f"llava-ocr={style}")
    domains = Domains(yaml.safe_load(text))
    assert list(domains["sat"].objectives) == ["accuracy", *([] if style == "plain" else [f"{style}_format"])]
    assert domains["llava-ocr"].reference_answer("OPEN") == ("OPEN" if style == "plain" else "<answer>OPEN</answer>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the data sets, or a --setting: ai2d, chartqa, "),
        (["sta"], "data_prep has no data set 'sta', but ai2d, "),
        (["sat", "--setting", "hybrid"], "the setting hybrid has no data set 'sat', but ai2d, lisa, "),
        (["sat", "--role", "sat=main"], "--role sat=main: choose from target, general, probe"),
        (["sat", "--style", "sat"], "--style sat: write it as NAME=think|answer|plain"),
        (["sat", "--role", "lisa=target"], "no data set 'lisa' is asked for, but sat"),
        (["sat", "mathvista", "--role", "mathvista=general"], "mathvista has no rows to train on"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message):
    result = CliRunner().invoke(app, ["domains", *arguments])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("data_prep: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1
