"""Every converter on rows in its source's schema, against output that was read by people.

RECAP_UPDATE_GOLDEN=1 python -m pytest tests/data_prep/test_sets.py
writes the golden files anew; read what changed.
"""

import hashlib
import io
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_layouts import layouts
from PIL import Image

from data_prep.check import check_files
from data_prep.conversion import convert
from data_prep.dataset import all_datasets
from data_prep.source import open_source
from recap_verl.domains import Domains
from recap_verl.objectives import get_objective

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"


def test_every_data_set_has_fixtures():
    assert {name.replace("-", "_") for name in all_datasets()} == {name for name, _ in layouts()}


def readable(row: dict) -> dict:
    """Pictures as what they show: encoders of other versions write other bytes."""
    pictures = []
    for image in row.pop("images"):
        opened = Image.open(io.BytesIO(image["bytes"]))
        pixels = hashlib.sha256(opened.tobytes()).hexdigest()[:16] if opened.format == "PNG" else None
        pictures.append([opened.format, opened.mode, *opened.size, pixels])
    return {**row, "images": pictures}


@pytest.fixture(scope="module")
def converted(make_source, tmp_path_factory):
    """`converted(name, layout)` -> the summary of each split."""
    done = {}

    def run(name, layout):
        if (name, layout) not in done:
            folder, options = make_source(name, layout)
            dataset = all_datasets()[name.replace("_", "-")]
            out = tmp_path_factory.mktemp(f"{name}-{layout}-out")
            done[name, layout] = []
            for split in options.get("splits", dataset.splits):
                source = open_source(dataset, split, str(options.get("source", folder)), images=options.get("images"))
                ours = split.partition("=")[0]
                done[name, layout].append(convert(dataset, ours, source, out / f"{ours}.parquet"))
        return done[name, layout]

    return run


@pytest.mark.parametrize(("name", "layout"), list(layouts()))
def test_rows_are_as_people_read_them(name, layout, converted):
    golden = GOLDEN / f"{name}-{layout}.json"
    found = {}
    for summary in converted(name, layout):
        rows = [readable(row) for row in pq.read_table(summary.path).to_pylist()]
        left_out = summary.listed.read_text().splitlines() if summary.listed.exists() else []
        assert len(rows) == summary.rows and len(left_out) == summary.skipped.total()
        found[summary.path.stem] = {"rows": rows, "left out": [json.loads(line) for line in left_out]}
    if os.environ.get("RECAP_UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(golden.read_text())


def own_answer(value, facts):
    """A ground truth as a model would write it."""
    match facts.get("type"):
        case "text grounding en":
            return f"[{', '.join(value)}]"
        case "VQA with position en":
            return json.dumps({"answer": value[0], "bbox": facts["bbox"]})
        case "key information extraction en":
            fields = json.loads(value[0])
            return json.dumps({key: texts[0] if isinstance(texts, list) else texts for key, texts in fields.items()})
        case "text spotting en":
            boxes = [[*corners[:2], *(corners[4:6] or corners[2:])] for corners in facts["bbox_list"]]
            return json.dumps([[*box, word] for box, word in zip(boxes, facts["content"], strict=True)])
    if isinstance(value, str):
        return value
    return value[0] if value and isinstance(value[0], str) else json.dumps(value)


@pytest.mark.parametrize(("name", "layout"), list(layouts()))
def test_rows_pass_the_checker_and_their_own_truth_scores_one(name, layout, converted):
    for summary in converted(name, layout):
        report = check_files([summary.path], allowed=frozenset({"duplicate"}))
        assert report.ok, report
        for row in pq.read_table(summary.path).to_pylist():
            dataset = all_datasets()[name.replace("_", "-")]
            objective, options = next(iter(dataset.objectives.items()))
            if "truth_frame" not in options:
                options = {key: value for key, value in options.items() if key != "frame"}
            truth = row["reward_model"]["ground_truth"]
            value = json.loads(truth)
            facts = json.loads(row["extra_info"]["metadata"] or "{}")
            answer = own_answer(value, facts)
            score = get_objective(objective, **options)
            # METEOR, and so OCRBench v2's score of a page, only comes close to 1.
            own = score(f"<answer>{answer}</answer>", truth, row["extra_info"])
            assert own == pytest.approx(1, abs=1e-4), row["extra_info"]
            # Saying nothing is right where there is nothing to detect, and shares its root with every document.
            nothing = score("<answer></answer>", truth, row["extra_info"])
            expected = 1 / 3 if facts.get("type") == "document parsing en" else float(value == "No Objects")
            assert nothing == pytest.approx(expected)


def test_configurations_are_as_many_as_published():
    assert {name: len(each.configs) for name, each in all_datasets().items() if len(each.configs) > 1} == {
        "llava-ocr": 8,
        "mmmu": 30,
        "mmmu-pro": 2,
    }


@pytest.mark.parametrize("name", list(all_datasets()))
def test_domains_are_valid(name):
    dataset = all_datasets()[name]
    config = {name: dataset.domain(role="target")}
    assert set(Domains(config).data_sources) == set(dataset.data_sources)
    for use in dataset.settings.values():
        Domains({name: dataset.domain(use, role="target")})
        assert set(use.splits) <= set(dataset.splits)
