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
    from pytest_qllm.models.chat import ChatTemplate


def prepared(
    benchmark: Benchmark,
    source: DataSource,
    seed: int,
    judge: Judge | None,
    chat: ChatTemplate | None,
    talk: Chat,
) -> LmEvalBenchmark:
    """The benchmark, ready to be asked.

    Args:
        judge: of the session; None where the options name none.
        chat: the template in which single questions are put; None: as plain text.
        talk: the chat template of the model that is asked, which a dialogue always needs.

    Raises:
        UnavailableError: if it needs a judge and there is none.
    """
    if benchmark.judged and judge is None:
        raise UnavailableError(without_judge(benchmark))
    if benchmark.form == "dialogue" and judge is not None:
        return Dialogue(benchmark, source, seed, judge, talk)
    if benchmark.form.startswith("followbench"):
        return FollowBench(benchmark, source, seed, judge if benchmark.judged else None, chat)
    return LmEvalBenchmark(benchmark, source, seed, chat)
