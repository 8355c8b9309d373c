"""python -m recap_verl.self_replay PROMPTS.parquet --model BASE --out FILE.parquet"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from recap_verl.self_replay.domain_file import Summary, domains_file, domains_snippet, dropped_file
from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.prompt_file import open_prompts
from recap_verl.self_replay.run import Rollout, replay
from recap_verl.self_replay.settings import Filters, Generation, Settings, check_at_least, vllm_version

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    prompts: Annotated[Path, typer.Argument(help="Parquet file with the prompts, as verl reads it.")],
    model: Annotated[str, typer.Option(help="The base model: a folder or a hub name.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    n: Annotated[int, typer.Option(help="Answers per prompt; more than one needs a temperature.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    max_prompt_length: Annotated[int, typer.Option(help="Tokens; longer prompts are dropped.")] = 1024,
    max_response_length: Annotated[int, typer.Option(help="Tokens; longer answers are cut.")] = 512,
    keep_cut: Annotated[bool, typer.Option("--keep-cut", help="Keep answers that were cut.")] = False,
    min_tokens: Annotated[int, typer.Option(help="Drop shorter answers.")] = 1,
    max_repetition: Annotated[
        float, typer.Option(help="Drop answers with a larger share of token 4-grams that occurred before.")
    ] = 0.5,
    top_k: Annotated[
        int, typer.Option(help="Also store the K most likely tokens at each token of an answer; 0 stores none.")
    ] = 0,
    data_source: Annotated[
        str | None, typer.Option(help="data_source of all rows; self/<the prompt's own> if not given.")
    ] = None,
    chat_template_kwargs: Annotated[
        str, typer.Option(help="JSON, as verl's data.apply_chat_template_kwargs.", metavar="JSON")
    ] = "{}",
    mm_processor_kwargs: Annotated[
        str, typer.Option(help="JSON, as verl's data.mm_processor_kwargs.", metavar="JSON")
    ] = "{}",
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Prompts asked at once, and saved at once.")] = 256,
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
    tensor_parallel_size: Annotated[int, typer.Option(help="GPUs that share the model.")] = 1,
    gpu_memory_utilization: Annotated[float, typer.Option(help="Share of a GPU's memory that vLLM takes.")] = 0.9,
) -> None:
    """Let the base model answer the prompts and write its answers as an sft domain (docs/self-replay.md).

    Stopped at any moment, the same command goes on where it was.
    """
    try:
        check_at_least("tensor_parallel_size", tensor_parallel_size, 1)
        if not 0 < gpu_memory_utilization <= 1:
            raise SelfReplayError(f"--gpu-memory-utilization must be in (0, 1], but is {gpu_memory_utilization}")
        _check_model(model)
        file = open_prompts(prompts)
        generation = Generation(
            model=model,
            prompts_sha256=file.sha256,
            vllm=vllm_version(),
            n=n,
            temperature=temperature,
            max_prompt_length=max_prompt_length,
            max_response_length=max_response_length,
            top_k=top_k,
            seed=seed,
            batch_size=batch_size,
            dtype=dtype,
            chat_template_kwargs=_json_object("--chat-template-kwargs", chat_template_kwargs),
            mm_processor_kwargs=_json_object("--mm-processor-kwargs", mm_processor_kwargs),
        )
        settings = Settings(generation, Filters(keep_cut, min_tokens, max_repetition), data_source)

        def open_rollout() -> Rollout:
            # Here, so that everything above is checked in a second and without vLLM.
            from recap_verl.verl_adapter.offline_rollout import OfflineRollout

            return OfflineRollout(prompts, generation, tensor_parallel_size, gpu_memory_utilization)

        summary = replay(file, settings, out, open_rollout, report=lambda line: print(line, flush=True))
    except SelfReplayError as error:
        typer.echo(f"recap_verl.self_replay: {error}", err=True)
        raise typer.Exit(2) from error
    if summary is None:
        print(f"{out} is kept: it was made with the same settings")
        return
    _print_summary(summary, n, out)


def _print_summary(summary: Summary, n: int, out: Path) -> None:
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary.dropped.most_common()) or "none"
    print(f"{out}: {summary.prompts} prompts, {n} answers each" if n > 1 else f"{out}: {summary.prompts} prompts")
    print(f"kept: {summary.kept} rows, {summary.tokens} tokens")
    print(f"dropped: {dropped} (listed in {dropped_file(out)})")
    print(f"recap.domains ({domains_file(out)}):\n{domains_snippet(summary.data_sources)}", end="")


def _check_model(model: str) -> None:
    """Refuse a folder that is not there; a name with one slash at most may be the hub's."""
    folder = Path(model)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise SelfReplayError(f"--model {model} is no model folder: it has no config.json")
    elif not model or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise SelfReplayError(f"--model {model!r} is no folder: name an existing one, or a model of the hub")


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SelfReplayError(f"{option} must be a JSON object, but is {text!r} ({error})") from error
    if not isinstance(value, dict):
        raise SelfReplayError(f"{option} must be a JSON object, but is {text!r}")
    return value


if __name__ == "__main__":
    app()
