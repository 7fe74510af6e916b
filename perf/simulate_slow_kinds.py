"""How often a verdict errs on the kinds whose limits take long: the package's own judge, whole, with adaptive stopping.

    python perf/simulate_slow_kinds.py                  # 400 gates a case of a bootstrap, 2,000 of the others: minutes
    python perf/simulate_slow_kinds.py --only relative

The true loss is exactly the tolerance: every PASS and every FAIL is wrong; 5 % of each are allowed. Looks are 40
items apart, as in a run. ``relative``: a share of the baseline's accuracy (Fieller). ``corpus``: matched over all words
of a corpus, one factor of BLEU, by a bootstrap. ``bias``: BBQ's score, whose candidate lies further from 0.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from simulate_bias import METRIC as BIAS
from simulate_bias import answers

from pytest_qllm.verdict.corpus import CorpusMetric, Floats
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.sequential import DEFAULT, looks
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Outcome, judge

BLOCK = 40
Pair = tuple[Sample, Sample]


def relative(gates: int, rng: np.random.Generator) -> Iterator[str]:
    """90 % of the baseline's accuracy is to be kept, and is; the rest of the answers flip both ways."""
    for n in (200, 800):
        for right in (0.5, 0.8):
            for flips in (0.12, 0.3):
                loss = 0.1 * right
                chances = [(flips + loss) / 2, (flips - loss) / 2]
                chances += [right - chances[0], 1 - right - chances[1]]

                def draw(n: int = n, chances: list[float] = chances) -> Pair:
                    case = rng.choice(4, n, p=chances)
                    return _sample((case == 0) | (case == 2)), _sample((case == 1) | (case == 2))

                about = f"relative, accuracy {right:.0%}, {flips:.0%} flips"
                yield simulated(about, n, 0.1, draw, gates * 5, Kind.ACCURACY, share=True)


def corpus(gates: int, rng: np.random.Generator) -> Iterator[str]:
    """Words of sentences, of which the baseline matches 60 %, sentence by sentence as hard, and the candidate 58 %."""
    mended = 0.1
    broken = 1 - (0.58 - mended * 0.4) / 0.6
    for n in (200, 400):

        def draw(n: int = n) -> Pair:
            words = rng.integers(5, 31, n)
            matched = rng.binomial(words, rng.beta(6, 4, n))
            after = rng.binomial(matched, 1 - broken) + rng.binomial(words - matched, mended)
            return tuple(_sample(one / words, np.stack([one, words], axis=1)) for one in (matched, after))  # type: ignore[return-value]

        yield simulated("corpus", n, 0.02, draw, gates, Kind.CORPUS, lambda parts: _ratio(parts))


def bias(gates: int, rng: np.random.Generator) -> Iterator[str]:
    for n in (400,):
        for score in (0.0, 0.2):

            def draw(n: int = n, score: float = score) -> Pair:
                pair = answers(score, 0.05, n, rng)
                return tuple(_sample(np.zeros(n), one) for one in pair)  # type: ignore[return-value]

            yield simulated(f"bias, baseline {score:+.2f}", n, 0.05, draw, gates, Kind.BIAS, BIAS)


def simulated(
    about: str,
    n: int,
    tolerance: float,
    draw: Callable[[], Pair],
    gates: int,
    kind: Kind,
    metric: CorpusMetric | None = None,
    *,
    share: bool = False,
) -> str:
    """The shares of wrong verdicts, with their standard error."""
    plan = looks(n, BLOCK, DEFAULT, kind.first_look)
    found: Counter[Outcome] = Counter()
    for _ in range(gates):
        before, after = draw()
        verdict = conduct(
            plan,
            lambda look: judge(
                before.first(look.items),  # noqa: B023
                after.first(look.items),  # noqa: B023
                kind,
                tolerance,
                alpha=look.alpha,
                relative=share,
                metric=metric,
                generator=np.random.default_rng(0),
            ),
        )
        found[verdict.outcome] += 1
    passed, failed = (found[outcome] / gates for outcome in (Outcome.PASS, Outcome.FAIL))
    error = sqrt(0.05 * 0.95 / gates)
    return f"{about:38}{n:6}{len(plan):6}{passed:9.4f}{failed:9.4f}{error:8.4f}"


def _sample(scores: Floats, parts: Floats | None = None) -> Sample:
    n = len(scores)
    ids = tuple(map(str, range(n)))
    return Sample(
        ids, scores.astype(float), np.ones(n), np.zeros(n), None, None if parts is None else parts.astype(float)
    )


def _ratio(parts: Floats) -> Floats:
    sums = parts.sum(-2)
    return np.asarray(sums[..., 0] / sums[..., 1])


KINDS = {"relative": relative, "corpus": corpus, "bias": bias}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=400)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"{'loss exactly the tolerance':38}{'items':>6}{'looks':>6}{'PASS':>9}{'FAIL':>9}{'error':>8}")
    for name in given.only:
        for line in KINDS[name](given.gates, rng):
            print(line, flush=True)


if __name__ == "__main__":
    main()
