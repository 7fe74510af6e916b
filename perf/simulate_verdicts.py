"""How often the verdict is wrong, what it finds, and how many items it takes: simulated gates with adaptive stopping.

    python perf/simulate_verdicts.py            # 10,000 gates a case, about 15 minutes on one core
    python perf/simulate_verdicts.py --quick    # fewer cases and gates, within a minute
    python perf/simulate_verdicts.py --json out.json --seed 7

``wrong_pass`` and ``wrong_fail`` are simulated at a true loss of exactly the tolerance. ``items_ratio`` compares the
items used with the smallest fixed design that passes a harmless regime, and fails a loss of twice the tolerance, in
95 % of runs each, by exact enumeration.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import log
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from gates_under_test import Floats, Outcomes, adjusted, bounded, clustered, graded, independent, rates, studentized
from other_gates import RULES, draw

from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.power import POWER, exact_fixed_items
from pytest_qllm.verdict.sequential import DEFAULT, Design

BLOCK = 8


@dataclass
class Case:
    """One simulated setting and what came of it.

    ``effect`` is the true loss in tolerances; ``fixed`` the items of the fixed design where the case has one.
    """

    kind: str
    n: int
    tolerance: float
    flips: float
    effect: float
    gates: int
    passed: float
    failed: float
    mean_items: float
    fixed: int | None = None
    largest_ratio: float | None = None
    note: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def ratio(self) -> float | None:
        return None if self.fixed is None else self.mean_items / self.fixed


def main() -> None:
    options = parse()
    design = DEFAULT if options.alpha is None else Design(alpha=options.alpha)
    cases: list[Case] = []
    print(f"{'':34}{'n':>6} {'tol':>6} {'flips':>6} {'loss/tol':>8} {'PASS':>7} {'FAIL':>7} {'items':>8} {'ratio':>6}")
    kinds = [PARTS[name] for name in options.only] if options.only else PARTS.values()
    rng = np.random.default_rng(options.seed)
    for case in (case for part in kinds for case in part(options.quick, options.gates, design, rng)):
        cases.append(case)
        print(line(case), flush=True)
    if options.only:
        write(options.json, {"cases": [asdict(case) for case in cases]})
        return
    summary = summarize(cases)
    show(summary)
    gates = compare_gates(10_000 if not options.quick else 2_000, design, np.random.default_rng(options.seed + 1))
    write(options.json, {"summary": summary, "cases": [asdict(case) for case in cases], "other_gates": gates})


def write(path: Path | None, content: Mapping[str, object]) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases and gates, within a minute")
    parser.add_argument("--json", type=Path, help="write the summary and every case to this file")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--gates", type=int, help="simulated gates of a case (10,000; 4,000 with --quick)")
    parser.add_argument("--alpha", type=float, help="error of each side (0.05)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the cases, without a summary")
    options = parser.parse_args()
    options.gates = options.gates or (4_000 if options.quick else 10_000)
    return options


def at_the_tolerance(quick: bool, gates: int, design: Design, rng: np.random.Generator) -> Iterator[Case]:
    sizes = (50, 200, 800) if quick else (50, 100, 200, 400, 800, 1600, 5000)
    tolerances = (0.03,) if quick else (0.005, 0.01, 0.03, 0.08)
    for n in sizes:
        for tolerance in tolerances:
            # A loss cannot exceed the flips: with fewer flips than the tolerance all are losses, which is one case.
            low = [0.005, 0.02, 0.05, 0.12, 0.30]
            for flips in [max(tolerance, low[0]), *(rate for rate in low if rate > max(tolerance, low[0]))]:
                run = timed(lambda: independent(n, tolerance, tolerance, flips, gates, BLOCK, design, rng))  # noqa: B023
                yield case_of("independent", n, tolerance, flips, 1, gates, run)


def as_planned(quick: bool, gates: int, design: Design, rng: np.random.Generator) -> Iterator[Case]:
    plans = [(0.03, 0.12), (0.03, 0.04), (0.08, 0.35)]
    if not quick:
        plans += [(0.03, 0.005), (0.03, 0.20), (0.04, 0.12), (0.01, 0.02), (0.05, 0.02), (0.02, 0.10), (0.06, 0.20)]
        plans += [(0.08, 0.20), (0.08, 0.12), (0.03, 0.02), (0.03, 0.30)]
    for tolerance, flips in plans:
        fixed = exact_fixed_items(tolerance, flips, alpha=design.alpha)
        n = int(design.inflation * fixed)
        for effect in (0, 2, 4):
            run = timed(lambda: independent(n, tolerance, effect * tolerance, flips, gates, BLOCK, design, rng))  # noqa: B023
            yield case_of("planned", n, tolerance, flips, effect, gates, run, fixed)


def in_clusters(quick: bool, gates: int, design: Design, rng: np.random.Generator) -> Iterator[Case]:
    shapes = [(20, 20), (100, 10)] if quick else [(5, 40), (10, 40), (20, 20), (57, 20), (100, 10), (200, 5)]
    gates //= 4
    for clusters, size in shapes:
        for correlation in (0.1, 0.5) if not quick else (0.5,):
            for flips in (0.04, 0.15, 0.30) if not quick else (0.04, 0.30):
                run = timed(
                    lambda: clustered(
                        clusters,  # noqa: B023
                        size,  # noqa: B023
                        correlation,  # noqa: B023
                        0.04,
                        0.04,
                        flips,  # noqa: B023
                        gates,
                        BLOCK,
                        design,
                        rng,
                    )
                )
                note = f"{clusters} of {size}, r {correlation}"
                count = len(run[0].decisions)
                yield case_of("clusters", clusters * size, 0.04, flips, 1, count, run, note=note)


def of_texts(quick: bool, gates: int, design: Design, rng: np.random.Generator) -> Iterator[Case]:
    """Documents used, beside the fixed design of the same limits: how much documents differ is not known before, so
    that a test plans all that there are."""
    margin, count = log(1.03), gates // 20

    def draw(mean: float, spread: float) -> Draw:
        def documents(rng: np.random.Generator, gates: int, n: int) -> tuple[Floats, Floats]:
            sizes = rng.integers(200, 601, (gates, n)).astype(float)
            return sizes * rng.normal(mean, spread, (gates, n)), sizes

        return documents

    def found(n: int, effect: int, spread: float, design: Design) -> Outcomes:
        return studentized(n, margin, draw(effect * margin, spread), count, 4, design, rng, Kind.PERPLEXITY)

    for spread in (0.02,) if quick else (0.005, 0.01, 0.02, 0.05):
        fixed, once = Kind.PERPLEXITY.minimum, Design.fixed(design.alpha)
        while found(fixed, 0, spread, once).passed < POWER or found(fixed, 2, spread, once).failed < POWER:
            fixed += max(1, fixed // 10)
        for n in (40,) if quick else (40, 100):
            for effect in (0, 2, 4):
                run = timed(lambda: found(n, effect, spread, design))  # noqa: B023
                yield case_of("texts", n, 1.03, 0, effect, count, run, fixed, note=f"spread {spread:g}")


def of_other_kinds(quick: bool, gates: int, design: Design, rng: np.random.Generator) -> Iterator[Case]:
    gates //= 2
    for n in (100,) if quick else (50, 200, 800):
        for flips in (0.1,) if quick else (0.1, 0.5):
            count = gates
            run = timed(lambda: graded(n, 0.03, 0.03, flips, count, BLOCK, design, rng))  # noqa: B023
            yield case_of("graded", n, 0.03, flips, 1, count, run)
    lengths: dict[str, Callable[[tuple[int, int]], Floats]] = {
        "200-600 tokens": lambda shape: rng.integers(200, 601, shape).astype(float),
        "50-2000 tokens": lambda shape: rng.integers(50, 2001, shape).astype(float),
    }
    shapes: dict[str, Callable[[tuple[int, int]], Floats]] = {
        "normal": lambda shape: rng.normal(0, 1, shape),
        "skewed": lambda shape: (rng.gamma(4, 1, shape) - 4) / 2,
        "exponential": lambda shape: rng.exponential(1, shape) - 1,
    }
    count = gates
    for documents in (8,) if quick else (8, 12, 24, 60, 100):
        for length, tokens in lengths.items():
            for shape, noise in (
                shapes.items() if not quick else [(name, shapes[name]) for name in ("normal", "exponential")]
            ):

                def documents_of(
                    _: np.random.Generator, gates: int, n: int, tokens=tokens, noise=noise
                ) -> tuple[Floats, Floats]:
                    sizes = tokens((gates, n))
                    return sizes * (log(1.03) + 0.03 * noise((gates, n))), sizes

                run = timed(
                    lambda: studentized(documents, log(1.03), documents_of, count, 1, design, rng, Kind.PERPLEXITY)  # noqa: B023
                )
                yield case_of("perplexity", documents, 1.03, 0, 1, count, run, note=f"{length}, {shape}")
    for n in (100,) if quick else (60, 200, 600):
        # Most items move a little, a few move much: as the probability of the right choice does.
        spread = rng.lognormal(-3, 1, (count, n))
        tailed = np.clip(0.02 + spread * rng.normal(0, 1, (count, n)), -1, 1)
        # And the loss is all in a few items, which the first looks may not see.
        rare = np.clip(0.5 * (rng.random((count, n)) < 0.04) + rng.normal(0, 0.01, (count, n)), -1, 1)
        for note, losses in (("heavy-tailed", tailed), ("one in 25 loses half", rare)):
            run = timed(lambda: bounded(losses, 0.02, BLOCK, design))  # noqa: B023
            yield case_of("soft", n, 0.02, 0, 1, count, run, note=note)

    for n, total in [(200, 800)] if quick else [(100, 400), (200, 800), (400, 400), (1000, 4000)]:
        start = time.perf_counter()
        found, ratio = adjusted(n, total, 0.03, 0.03, count, design, rng)
        run = found, time.perf_counter() - start
        note = f"of {total}, error x {ratio:.2f}"
        yield case_of("adjusted", n, 0.03, 0, 1, count, run, note=note)


Part = Callable[[bool, int, Design, np.random.Generator], Iterator[Case]]
Draw = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]

PARTS: Mapping[str, Part] = {
    "tolerance": at_the_tolerance,
    "planned": as_planned,
    "clusters": in_clusters,
    "texts": of_texts,
    "others": of_other_kinds,
}


def timed(simulation: Callable[[], Outcomes]) -> tuple[Outcomes, float]:
    start = time.perf_counter()
    return simulation(), time.perf_counter() - start


def case_of(
    kind: str,
    n: int,
    tolerance: float,
    flips: float,
    effect: float,
    gates: int,
    run: tuple[Outcomes, float],
    fixed: int | None = None,
    note: str = "",
) -> Case:
    found, seconds = run
    largest = None if fixed is None else float(found.items.max()) / fixed
    return Case(
        kind,
        n,
        tolerance,
        flips,
        effect,
        gates,
        found.passed,
        found.failed,
        found.mean_items,
        fixed,
        largest,
        note,
        seconds,
    )


def line(case: Case) -> str:
    ratio = "" if case.ratio is None else f"{case.ratio:6.2f}"
    return (
        f"{case.kind:11} {case.note:22}{case.n:6} {case.tolerance:6.3f} {case.flips:6.3f} {case.effect:8g} "
        f"{case.passed:7.4f} {case.failed:7.4f} {case.mean_items:8.0f} {ratio:>6}"
    )


ANSWERS = ("independent", "planned", "clusters", "graded")
"""Cases of answers that flip, which the goals are set for; texts, soft and adjusted scores stand by kind."""


def summarize(cases: list[Case]) -> dict[str, object]:
    every = [case for case in cases if case.effect == 1 and case.note.partition(", ")[2] != "exponential"]
    wrong = [case for case in every if case.kind in ANSWERS]
    planned = [case for case in cases if case.kind == "planned"]
    texts = [case for case in cases if case.kind == "texts"]

    def ratios(effect: int, among: Sequence[Case] = planned) -> list[float]:
        return [case.ratio for case in among if case.effect == effect and case.ratio is not None]

    return {
        "wrong_pass": max(case.passed for case in wrong),
        "wrong_fail": max(case.failed for case in wrong),
        "power_2x": min(case.failed for case in planned if case.effect == 2),
        "items_ratio": {str(effect): float(np.mean(ratios(effect))) for effect in (0, 2, 4)},
        "wrong_pass_mean": float(np.mean([case.passed for case in wrong])),
        "wrong_fail_mean": float(np.mean([case.failed for case in wrong])),
        "power_2x_mean": float(np.mean([case.failed for case in planned if case.effect == 2])),
        "pass_at_no_loss": min(case.passed for case in planned if case.effect == 0),
        "items_ratio_worst": {str(effect): max(ratios(effect)) for effect in (0, 2, 4)},
        "items_ratio_largest": max(case.largest_ratio or 0.0 for case in planned),
        "texts_ratio": {str(effect): float(np.mean(ratios(effect, texts))) for effect in (0, 2, 4)},
        "texts_ratio_worst": {str(effect): max(ratios(effect, texts)) for effect in (0, 2, 4)},
        "wrong_pass_exponential": max(case.passed for case in cases if case.note.endswith("exponential")),
        "by_kind": {
            kind: {
                "wrong_pass": max(case.passed for case in every if case.kind == kind),
                "wrong_fail": max(case.failed for case in every if case.kind == kind),
            }
            for kind in dict.fromkeys(case.kind for case in every)
        },
    }


def show(summary: dict[str, object]) -> None:
    print("\nworst cases, and their means (true loss exactly the tolerance; loss of twice the tolerance)")
    for name, value in summary.items():
        print(f"  {name:20} {json.dumps(value) if isinstance(value, dict) else f'{value:.4f}'}")


def compare_gates(runs: int, design: Design, rng: np.random.Generator) -> list[dict[str, object]]:
    """Shares of runs that each rule passes, leaves open and fails, on the same settings; baseline accuracy 60 %."""
    rows: list[dict[str, object]] = []
    print(f"\nother gates: {runs} runs, accuracy 60 %, tolerance 3 points: passes / undecided / fails, %")
    print(f"{'items':>6} {'flips':>5} {'loss':>5} {'ours':>17}" + "".join(f" {name:>17}" for name in RULES))
    # With few flips most runs of few items see none.
    for n, flips in ((10, 0.04), (64, 0.04), (400, 0.12), (1319, 0.12), (4096, 0.12)):
        for loss in (0.0, 0.03, 0.06):
            flipped = max(flips, 1.2 * loss)
            broken, mended, _ = rates(loss, flipped)
            scores = draw(n, 0.6, broken, mended, runs, rng)
            ours = independent(n, 0.03, loss, flipped, runs, BLOCK, design, rng).decisions
            found = {"ours": ours} | {name: rule(scores, 0.03) for name, rule in RULES.items()}
            shares = {name: [100 * float((one == sign).mean()) for sign in (1, 0, -1)] for name, one in found.items()}
            rows.append({"n": n, "flips": flipped, "loss": loss, **shares})
            cells = "".join(f" {'{:.0f} / {:.0f} / {:.0f}'.format(*share):>17}" for share in shares.values())
            print(f"{n:6} {100 * flipped:5.3g} {100 * loss:5g}{cells}")
    return rows


if __name__ == "__main__":
    main()
