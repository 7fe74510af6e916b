"""This project's engine against lm-eval's `hf` backend: the same requests, model, dtype and threads, in one process.

    OMP_NUM_THREADS=2 python perf/vs_lm_eval.py --threads 2 --json vs_lm_eval.json

Both sides take turns. CPU seconds are those of all threads of the process (``time.process_time``), wall seconds those
of the clock; both include tokenization and leave out how requests are built and answers scored. Of several ``--rounds``
the least of each counts. lm-eval gets its best batch size, found on a few items in the middle of the lengths.

``cpu_ratio`` and ``wall_ratio`` are lm-eval's seconds over ours. ``floor_fraction`` is the floor over our wall seconds:

    floor = 2 x (body parameters x distinct tokens + output head parameters x scored positions) / matrix-product rate

``distinct tokens`` are the nodes of the prefix tree of all requests, each request without its last token, which is only
scored. The input embedding counts nothing, attention's own products neither, and the output head only where an output
is scored or sampled from: a stricter floor than all parameters at each token. The rate is measured just before, with
the same threads and dtype, on 1024 rows through the largest weight of the body. ``floor_fraction_cpu`` is the floor
times the threads, over our CPU seconds. Of generated texts the tokens before the stop string are counted.

``same_answers``: of every item the chosen answer, every metric of the task and each request's is_greedy are equal; of a
generated text, the text as it is cut at the stop strings, and its metrics.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _work import WORKS, Work, prepare
from rich.console import Console
from rich.table import Table

from pytest_qllm.compute import choose
from pytest_qllm.engine.engine import Generated, Scored
from pytest_qllm.errors import QllmError
from pytest_qllm.models import source
from pytest_qllm.options import cache_directory
from pytest_qllm.store import Store

if TYPE_CHECKING:
    from _sides import Answers, Contest

    from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Row:
    """What one work in one dtype gave; seconds are the least of the rounds, ``trials`` CPU seconds per row."""

    work: str
    dtype: str
    cpu_ratio: float
    wall_ratio: float
    floor_fraction: float
    max_abs_loglik_diff: float | None
    same_answers: bool
    floor_fraction_cpu: float
    differing_items: int
    items: int
    requests: int
    cpu_s: float
    lm_eval_cpu_s: float
    wall_s: float
    lm_eval_wall_s: float
    lm_eval_batch_size: int
    lm_eval_batch_size_trials: dict[int, float]
    request_tokens: int
    distinct_tokens: int
    scored_positions: int
    floor_gflop: float
    floor_s: float
    matmul_gflops: float
    threads: int
    rounds: int


def main() -> int:
    options = _options()
    try:
        rows = _run(options, Console(stderr=True))
    except QllmError as error:
        print(f"vs_lm_eval: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 130).print(_table(rows))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", action="append", metavar="PREFIX", help="works that begin so (default: all)")
    parser.add_argument("--items", type=_positive, metavar="N", help="at most N items of each work")
    parser.add_argument(
        "--dtype", action="append", choices=DTYPES, help="default: float32, and bfloat16 where the CPU multiplies it"
    )
    parser.add_argument("--threads", type=_positive, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--model", default=source.DEFAULT, help="default: %(default)s, the built-in one")
    parser.add_argument("--lm-eval-batch-size", type=_positive, metavar="N", help="default: the best of several tried")
    parser.add_argument("--rounds", type=_positive, default=1, help="turns of each side (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the items (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="written after each work")
    options = parser.parse_args()
    prefixes = tuple(options.work or ("",))
    options.works = [work for work in WORKS if work.name.startswith(prefixes)]
    unknown = [prefix for prefix in prefixes if not any(work.name.startswith(prefix) for work in WORKS)]
    if unknown:
        parser.error(f"--work {unknown[0]!r} begins none of {', '.join(work.name for work in WORKS)}")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.absolute().parent}")
    native = choose("auto", "cpu", 1).dtype
    options.dtypes = list(dict.fromkeys(options.dtype or ["float32", native]))
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _run(options: argparse.Namespace, progress: Console) -> list[Row]:
    import torch
    from _sides import Contest

    from pytest_qllm.models import loader

    torch.set_num_threads(options.threads)
    cache = Store(cache_directory())
    checkpoint = source.resolve(options.model, cache)
    rows: list[Row] = []
    for dtype in options.dtypes:
        model = loader.load_dense(checkpoint.path, getattr(torch, dtype), "cpu")
        contest = Contest(model, loader.load_tokenizer(checkpoint.path), options.seed)
        for work in options.works:
            _say(progress, f"{work.name} in {dtype}: preparing")
            with tempfile.TemporaryDirectory() as folder:
                count = min(work.items, options.items or work.items)
                benchmark, items = prepare(work, count, options.seed, cache, Path(folder))
                rows.append(_compare(work, dtype, contest, benchmark, items, options, progress))
            if options.json:
                content = {"rows": [asdict(row) for row in rows], "machine": _machine(options)}
                options.json.write_text(json.dumps(content, indent=2) + "\n")
    return rows


def _compare(
    work: Work,
    dtype: str,
    contest: Contest,
    benchmark: LmEvalBenchmark,
    items: Sequence[Item],
    options: argparse.Namespace,
    progress: Console,
) -> Row:
    import _floor

    trials = {} if options.lm_eval_batch_size else contest.batch_sizes(items)
    size = options.lm_eval_batch_size or min(trials, key=lambda one: trials[one])
    tried = ", ".join(f"{one}: {seconds:.3g} s" for one, seconds in trials.items())
    _say(progress, f"  lm-eval's batch size is {size} (CPU per row: {tried or 'not tried'})")
    contest.ours(items[:1])
    rate = _floor.matmul_rate(contest.model)
    ours, theirs = [], []
    for _ in range(options.rounds):
        expected, cost = contest.lm_eval(items, size)
        theirs.append(cost)
        _say(progress, f"  lm-eval: {cost.cpu:.1f} s CPU, {cost.wall:.1f} s")
        answers, cost = contest.ours(items)
        ours.append(cost)
        _say(progress, f"  ours: {cost.cpu:.1f} s CPU, {cost.wall:.1f} s")
    texts = [answer.text for answer in answers if isinstance(answer, Generated)]
    tokens = _floor.count(contest.requests(items, texts or None))
    operations = _floor.operations(contest.model, tokens)
    cpu, wall = min(cost.cpu for cost in ours), min(cost.wall for cost in ours)
    their_cpu, their_wall = min(cost.cpu for cost in theirs), min(cost.wall for cost in theirs)
    floor = operations / rate
    differing = _differing(benchmark, items, answers, expected)
    return Row(
        work=work.name,
        dtype=dtype,
        cpu_ratio=their_cpu / cpu,
        wall_ratio=their_wall / wall,
        floor_fraction=floor / wall,
        max_abs_loglik_diff=None if texts else _largest_difference(answers, expected),
        same_answers=differing == 0,
        floor_fraction_cpu=floor * options.threads / cpu,
        differing_items=differing,
        items=len(items),
        requests=sum(len(item.requests) for item in items),
        cpu_s=cpu,
        lm_eval_cpu_s=their_cpu,
        wall_s=wall,
        lm_eval_wall_s=their_wall,
        lm_eval_batch_size=size,
        lm_eval_batch_size_trials=trials,
        request_tokens=tokens.total,
        distinct_tokens=tokens.distinct,
        scored_positions=tokens.scored,
        floor_gflop=operations / 1e9,
        floor_s=floor,
        matmul_gflops=rate / 1e9,
        threads=options.threads,
        rounds=options.rounds,
    )


def _say(progress: Console, line: str) -> None:
    progress.print(line, highlight=False, soft_wrap=True)


def _largest_difference(answers: Answers, expected: Answers) -> float:
    pairs = zip(_scored(answers), _scored(expected), strict=True)
    return max(abs(one.loglikelihood - other.loglikelihood) for one, other in pairs)


def _scored(answers: Answers) -> list[Scored]:
    return [one for answer in answers if isinstance(answer, list) for one in answer]


def _differing(benchmark: LmEvalBenchmark, items: Sequence[Item], answers: Answers, expected: Answers) -> int:
    """How many items have another answer, text, metric or is_greedy."""
    from _sides import Given

    ours, theirs = benchmark.score(items, Given(answers)), benchmark.score(items, Given(expected))
    return sum(
        (one.answer, one.metrics, _greedy(answer)) != (other.answer, other.metrics, _greedy(wanted))
        for one, other, answer, wanted in zip(ours, theirs, answers, expected, strict=True)
    )


def _greedy(answer: list[Scored] | Generated) -> list[bool]:
    return [] if isinstance(answer, Generated) else [one.is_greedy for one in answer]


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("pytest-qllm", "lm_eval", "torch", "transformers")},
        "model": options.model,
        "seed": options.seed,
        "command": shlex.join(sys.argv),
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="lm-eval's hf backend over this engine", title_justify="left", box=None, pad_edge=False)
    table.add_column("work", no_wrap=True)
    table.add_column("dtype")
    for column in ("items", "CPU s", "lm-eval (batch)", "CPU ratio", "wall ratio", "of floor", "max diff", "answers"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.work,
            row.dtype,
            str(row.items),
            f"{row.cpu_s:.1f}",
            f"{row.lm_eval_cpu_s:.1f} ({row.lm_eval_batch_size})",
            f"{row.cpu_ratio:.2f}",
            f"{row.wall_ratio:.2f}",
            f"{row.floor_fraction:.2f}",
            "" if row.max_abs_loglik_diff is None else f"{row.max_abs_loglik_diff:.1e}",
            "equal" if row.same_answers else f"{row.differing_items} differ",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
