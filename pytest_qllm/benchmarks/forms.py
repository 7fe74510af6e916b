"""Which class asks and scores a benchmark: lm-eval's tasks as they are, and what they have no word for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_qllm.benchmarks.benchmark import Benchmark, without_judge
from pytest_qllm.benchmarks.dialogue import Chat, Dialogue
from pytest_qllm.benchmarks.followbench import FollowBench
from pytest_qllm.benchmarks.judge import Judge
from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark
from pytest_qllm.errors import UnavailableError

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.data import DataSource


def prepared(benchmark: Benchmark, source: DataSource, seed: int, judge: Judge | None, chat: Chat) -> LmEvalBenchmark:
    """The benchmark, ready to be asked.

    Args:
        judge: of the session; None where the options name none.
        chat: the chat template of the model that is asked.

    Raises:
        UnavailableError: if it needs a judge and there is none.
    """
    if benchmark.judged and judge is None:
        raise UnavailableError(without_judge(benchmark))
    if benchmark.form == "dialogue" and judge is not None:
        return Dialogue(benchmark, source, seed, judge, chat)
    if benchmark.form.startswith("followbench"):
        return FollowBench(benchmark, source, seed, judge if benchmark.judged else None)
    return LmEvalBenchmark(benchmark, source, seed)
