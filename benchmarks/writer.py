"""data_prep's writer against the plain way of verl's example scripts, `datasets.map` and `to_parquet`.

Run: python benchmarks/writer.py [--rows 50000] [--processes 2]

Both convert the same parquet file of Geometry3K's schema into verl rows, each in a fresh process with fresh caches, on
as many processes. Memory is what all processes of a contender hold together, shared pages counted once (PSS), at its
highest of 20 samples a second; mapped files count as far as they are in memory.
"""

import argparse
import io
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS_DRAWN = 200  # different images


def make_source(path: Path, rows: int, width: int, height: int) -> None:
    """Line drawings on white, half PNG and half JPEG."""
    import datasets
    from PIL import Image, ImageDraw

    def drawing(number: int) -> bytes:
        image = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(image)
        for line in range(12):
            pen.line([(line * 37 * number) % width, 0, (line * 53 + number) % width, height], fill="black", width=2)
        file = io.BytesIO()
        image.save(file, "PNG" if number % 2 else "JPEG")
        return file.getvalue()

    drawn = [drawing(number) for number in range(ROWS_DRAWN)]
    features = datasets.Features(
        images=datasets.List(datasets.Image()), problem=datasets.Value("string"), answer=datasets.Value("string")
    )

    def each():
        for number in range(rows):
            image = {"bytes": drawn[number % ROWS_DRAWN], "path": None}
            yield {"images": [image], "problem": f"<image>Find x in figure {number}.", "answer": str(number)}

    dataset = datasets.Dataset.from_generator(each, features=features, cache_dir=str(path.parent / "cache"))
    dataset.to_parquet(path)


def write_plainly(source: str, out: str, processes: int, cache: str) -> None:
    """What verl's example scripts do: load, map each row to verl's columns, write."""
    import datasets

    instruction = "Reason inside <think>...</think>, then answer inside <answer>...</answer>."
    dataset = datasets.load_dataset("parquet", data_files=source, split="train", cache_dir=cache)

    def to_verl(example: dict, index: int) -> dict:
        return {
            "data_source": "geometry3k",
            "prompt": [{"role": "user", "content": f"{example['problem']} {instruction}"}],
            "images": example["images"],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": example["answer"]},
            "extra_info": {
                "split": "train",
                "index": index,
                "answer": example["answer"],
                "question": example["problem"],
            },
        }

    mapped = dataset.map(to_verl, with_indices=True, num_proc=processes, remove_columns=["problem", "answer"])
    mapped.to_parquet(out)


def write_with_data_prep(source: str, out: str, processes: int, cache: str) -> None:
    from data_prep.conversion import convert
    from data_prep.sets.geometry3k import DATASET
    from data_prep.source.local import LocalSource

    convert(DATASET, "train", LocalSource(Path(source), "train"), Path(out), processes=processes)


CONTENDERS = {"plain": write_plainly, "data_prep": write_with_data_prep}


def process_tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [pid, *(each for child in children.read_text().split() for each in process_tree(int(child)))]
    except OSError:
        return []


def held_bytes(pid: int) -> int:
    """PSS of a process, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def cpu_seconds() -> float:
    """Of all child processes that have ended, and theirs; on a busy machine it says more than the clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, source: Path, folder: Path, processes: int) -> dict:
    out, cache = folder / name / "train.parquet", folder / name / "cache"
    out.parent.mkdir(parents=True)
    arguments = [sys.executable, __file__, "--run", name, str(source), str(out), str(processes), str(cache)]
    start, peak, before = time.perf_counter(), 0, cpu_seconds()
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(held_bytes, process_tree(process.pid))))
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{name} failed with status {process.returncode}")
    return {"seconds": seconds, "cpu": cpu_seconds() - before, "peak": peak, "size": out.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 120))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--run", nargs=5)
    options = parser.parse_args()
    if options.run:
        name, source, out, processes, cache = options.run
        CONTENDERS[name](source, out, int(processes), cache)
        return
    folder = Path(tempfile.mkdtemp(prefix="writer-benchmark-"))
    try:
        source = folder / "train.parquet"
        make_source(source, options.rows, *options.size)
        kilobytes = source.stat().st_size / options.rows / 1000
        print(f"{options.rows} rows of {kilobytes:.1f} kB, {options.processes} processes", flush=True)
        found = {}
        for name in [options.only] if options.only else CONTENDERS:
            found[name] = result = measure(name, source, folder, options.processes)
            print(
                f"{name:>10}: {result['seconds']:6.1f} s, {options.rows / result['seconds']:6.0f} rows a second, "
                f"{result['cpu']:6.1f} s of CPU, peak {result['peak'] / 2**20:5.0f} MB, "
                f"file {result['size'] / 1e6:.0f} MB",
                flush=True,
            )
        if not options.only:
            plain, ours = found["plain"], found["data_prep"]
            speed, memory = plain["seconds"] / ours["seconds"], ours["peak"] / plain["peak"]
            work = plain["cpu"] / ours["cpu"]
            print(f"{speed:.1f} times the rows a second ({work:.1f} times by CPU), {memory:.2f} of the peak memory")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
