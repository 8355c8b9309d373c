"""From prompts to file with a scripted rollout: what is asked, what is written, what is refused."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recap_verl.self_replay import read_provenance
from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.parts import Answer
from recap_verl.self_replay.prompt_file import open_prompts
from recap_verl.self_replay.run import replay


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def run(write_prompts, settings_for, scripted, make_answer, tmp_path):
    """`run(script=..., out=..., **settings)` -> (summary, rollout)."""

    def start(prompts=None, out=None, script=make_answer, dies_at=None, **asked):
        file = open_prompts(prompts or write_prompts())
        rollout = scripted(script, asked.get("n", 1), dies_at)
        summary = replay(file, settings_for(file, **asked), out or tmp_path / "self.parquet", lambda: rollout, quiet)
        return summary, rollout

    return start


def truths(path) -> list[str]:
    return [json.loads(row["reward_model"]["ground_truth"]) for row in pq.read_table(path).to_pylist()]


def test_a_file_of_answers(run, tmp_path):
    summary, rollout = run()
    assert (summary.prompts, summary.kept, summary.tokens, sum(summary.dropped.values())) == (10, 10, 60, 0)
    assert rollout.asked == [range(0, 4), range(4, 8), range(8, 10)]

    out = tmp_path / "self.parquet"
    first = pq.read_table(out).to_pylist()[0]
    assert first["data_source"] == "self/text/last"
    assert first["reward_model"] == {"style": "rule", "ground_truth": '"answer 0 0"'}
    assert first["prompt"] == [{"role": "user", "content": "say 0"}]
    assert first["extra_info"]["answer"] == "x"
    assert (tmp_path / "self.dropped.jsonl").read_text() == ""
    snippet = yaml.safe_load((tmp_path / "self.domains.yaml").read_text())
    assert snippet == {"self": {"role": "general", "kind": "sft", "source": "self", "data_sources": ["self/text/last"]}}
    assert not (tmp_path / "self.parquet.parts").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "prompts.parquet",
        "self.domains.yaml",
        "self.dropped.jsonl",
        "self.parquet",
    ]


def test_the_settings_are_in_the_file(run, write_prompts, tmp_path):
    run(n=2, temperature=0.5, filters={"min_tokens": 2}, data_source="mine")
    found = read_provenance(tmp_path / "self.parquet")
    assert found["prompts_sha256"] == open_prompts(write_prompts()).sha256
    assert (found["n"], found["temperature"], found["data_source"]) == (2, 0.5, "mine")
    assert found["filters"] == {"keep_cut": False, "min_tokens": 2, "max_repetition": 0.5}
    assert read_provenance(write_prompts()) is None
    assert set(pq.read_table(tmp_path / "self.parquet").column("data_source").to_pylist()) == {"mine"}


def test_dropped_answers_are_counted_and_listed(run, make_answer, tmp_path):
    def script(row, sample):
        match row:
            case 1:
                return Answer(row)
            case 2:
                return Answer(row, sample, "on and on", [1, 2, 3])
            case 3:
                return make_answer(row, sample, text="the same")
            case _:
                return make_answer(row, sample)

    summary, _ = run(script=script, n=2, temperature=1.0)
    assert summary.kept == 15
    assert summary.dropped == {"prompt too long": 2, "cut": 2, "duplicate": 1}
    listed = [json.loads(line) for line in (tmp_path / "self.dropped.jsonl").read_text().splitlines()]
    assert [(entry["index"], entry["sample"], entry["reason"]) for entry in listed[2:]] == [
        (2, 0, "cut"),
        (2, 1, "cut"),
        (3, 1, "duplicate"),
    ]
    assert {entry["data_source"] for entry in listed} == {"text/last"}
    assert truths(tmp_path / "self.parquet")[:3] == ["answer 0 0", "answer 0 1", "the same"]


def test_nothing_left_is_one_sentence_and_other_filters_ask_nothing_again(run, tmp_path):
    with pytest.raises(SelfReplayError, match="no answer is left \\(short: 10") as error:
        run(filters={"min_tokens": 9})
    assert "\n" not in str(error.value)
    out = tmp_path / "self.parquet"
    assert not out.exists() and not (tmp_path / "self.domains.yaml").exists()
    assert len((tmp_path / "self.dropped.jsonl").read_text().splitlines()) == 10
    summary, rollout = run(filters={"min_tokens": 5})
    assert summary.kept == 10 and not rollout.asked


# --------------------------------------------------------------------- resuming


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_a_run_that_died_goes_on_behind_its_last_part_to_the_same_bytes(run, dies_at, tmp_path):
    straight, resumed = tmp_path / "straight.parquet", tmp_path / "resumed.parquet"
    run(out=straight)
    with pytest.raises(KeyboardInterrupt):
        run(out=resumed, dies_at=dies_at)
    assert not resumed.exists()
    _, rollout = run(out=resumed)
    assert rollout.asked == [range(0, 4), range(4, 8), range(8, 10)][dies_at:]
    assert resumed.read_bytes() == straight.read_bytes()


def test_what_a_kill_leaves_half_written_is_no_part(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(dies_at=2)
    parts = tmp_path / "self.parquet.parts"
    (parts / ".part-000002.parquet.tmp").write_bytes(b"PAR1 half")
    (tmp_path / ".self.parquet.tmp").write_bytes(b"PAR1 half")
    (parts / "part-000000.parquet").unlink()  # What comes after a gap is asked again.
    _, rollout = run()
    assert rollout.asked == [range(0, 4), range(4, 8), range(8, 10)]
    assert truths(tmp_path / "self.parquet") == [f"answer {i} 0" for i in range(10)]
    assert not (tmp_path / ".self.parquet.tmp").exists()


def test_killed_while_writing_the_file_leaves_no_file_and_all_answers(run, monkeypatch, tmp_path):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("recap_verl.self_replay.domain_file.domain_rows", die)
        run()
    assert not (tmp_path / "self.parquet").exists()
    summary, rollout = run()
    assert summary.kept == 10 and not rollout.asked


@pytest.mark.parametrize("changed", [{"seed": 1}, {"max_response_length": 9}, {"top_k": 3}, {"model": "other"}])
def test_answers_of_other_settings_are_never_mixed(run, changed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(dies_at=1)
    (name,) = changed
    with pytest.raises(SelfReplayError, match=f"other settings \\({name}\\): remove the folder or name another --out"):
        run(**changed)
    assert run()[1].asked == [range(4, 8), range(8, 10)]


def test_a_run_that_answered_nothing_binds_nobody(run):
    with pytest.raises(KeyboardInterrupt):
        run(dies_at=0)
    assert run(seed=1)[0].kept == 10


def test_a_changed_prompt_file_is_refused(run, write_prompts, make_row):
    with pytest.raises(KeyboardInterrupt):
        run(dies_at=1)
    with pytest.raises(SelfReplayError, match="prompts_sha256"):
        run(prompts=write_prompts([make_row(i) for i in range(11)]))


def test_an_existing_file_is_kept_or_refused_never_replaced(run, write_prompts, tmp_path):
    run()
    out = tmp_path / "self.parquet"
    before = out.read_bytes()
    summary, rollout = run()
    assert summary is None and not rollout.asked
    with pytest.raises(SelfReplayError, match=r"exists and was made with other settings \(filters, seed\)"):
        run(seed=3, filters={"keep_cut": True})
    assert out.read_bytes() == before
    with pytest.raises(SelfReplayError, match="was not made by self-replay"):
        run(out=write_prompts(name="other.parquet"))
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(SelfReplayError, match="is no parquet file"):
        run(out=tmp_path / "text.parquet")


def test_an_out_that_cannot_be_written_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SelfReplayError, match="cannot write to"):
        run(out=tmp_path / "file" / "self.parquet")
    with pytest.raises(SelfReplayError, match=r"must end in \.parquet"):
        run(out=tmp_path / "self.json")


# ---------------------------------------------------------------------- columns


def test_columns_keep_their_types_and_values(run, make_row, make_png, tmp_path):
    rows = [
        make_row(i, images=[{"bytes": make_png(), "path": None}] if i % 2 else None, agent_name="a", score=i / 2)
        for i in range(10)
    ]
    for one in rows:
        one["reward_model"]["tolerance"] = 0.5
    schema = pa.Table.from_pylist(rows).schema
    schema = schema.set(0, schema.field(0).with_type(pa.dictionary(pa.int32(), pa.string())))
    schema = schema.set(schema.get_field_index("score"), pa.field("score", pa.float32()))
    schema = schema.with_metadata({b"mine": b"kept"})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "typed.parquet")
    given = pq.read_table(tmp_path / "typed.parquet")
    run(prompts=tmp_path / "typed.parquet")

    table = pq.read_table(tmp_path / "self.parquet")
    assert table.schema.equals(given.schema)
    assert table.schema.metadata[b"mine"] == b"kept"
    unchanged = ["prompt", "ability", "extra_info", "images", "agent_name", "score"]
    assert table.select(unchanged).to_pylist() == given.select(unchanged).to_pylist()
    assert {row["tolerance"] for row in table.column("reward_model").to_pylist()} == {0.5}


def test_columns_that_are_missing_are_made(run, write_prompts, tmp_path):
    prompts = write_prompts([{"prompt": [{"role": "user", "content": f"say {i}"}]} for i in range(3)])
    run(prompts=prompts)
    assert pq.read_table(tmp_path / "self.parquet").to_pylist()[2] == {
        "prompt": [{"role": "user", "content": "say 2"}],
        "data_source": "self",
        "reward_model": {"style": "rule", "ground_truth": '"answer 2 0"'},
        "extra_info": {"split": "train", "index": 2, "question": "say 2", "answer": "answer 2 0", "metadata": None},
    }


def test_a_row_without_data_source_is_self(run, write_prompts, make_row, tmp_path):
    run(prompts=write_prompts([make_row(0), make_row(1, source=None)]))
    assert pq.read_table(tmp_path / "self.parquet").column("data_source").to_pylist() == ["self/text/last", "self"]


def test_top_k_is_aligned_with_the_answer(run, make_answer, tmp_path):
    run(script=lambda row, sample: make_answer(row, sample, top_k=3), top_k=3)
    for row in pq.read_table(tmp_path / "self.parquet").column("ntp_distribution").to_pylist():
        assert row["token_ids"][-1] == 0, "the token that ended the turn belongs to it"
        assert [ids[0] for ids in row["topk_ids"]] == row["token_ids"]
        assert [len(ids) for ids in row["topk_ids"]] == [3] * len(row["token_ids"])
        assert row["topk_log_probs"] == [[-0.5, -2.0, -3.0]] * len(row["token_ids"])


ANSWERS = st.builds(
    Answer,
    row=st.just(0),
    sample=st.just(0),
    text=st.sampled_from(["", " ", "a", "ä 1", '"quoted"\n']),
    token_ids=st.none() | st.lists(st.integers(0, 2), min_size=1, max_size=12),
    ended=st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANSWERS, min_size=10, max_size=10), st.booleans(), st.integers(1, 4), st.integers(1, 11))
def test_every_answer_is_kept_or_listed(run, tmp_path_factory, answers, keep_cut, min_tokens, batch_size):
    out = tmp_path_factory.mktemp("any") / "self.parquet"

    def script(row, sample):
        return replace(answers[row], row=row)

    filters = {"keep_cut": keep_cut, "min_tokens": min_tokens}
    try:
        summary, _ = run(out=out, script=script, filters=filters, batch_size=batch_size)
        kept = pq.read_table(out).to_pylist()
        assert summary.kept == len(kept)
    except SelfReplayError:
        kept = []
    listed = [json.loads(line)["index"] for line in out.with_suffix(".dropped.jsonl").read_text().splitlines()]
    assert sorted(listed + [row["extra_info"]["index"] for row in kept]) == list(range(10))
    for row in kept:
        answer = answers[row["extra_info"]["index"]]
        assert json.loads(row["reward_model"]["ground_truth"]) == answer.text and answer.text.strip()
        assert len(answer.spoken) >= min_tokens and (answer.ended or keep_cut)
