"""The verdict matrix in a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_qllm.report.matrix import matrix
from pytest_qllm.report.record import Record

REGIMES = ("fp16", "bnb-int8", "bnb-nf4", "gptq-4bit")
NAMES = ("arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "boolq", "sciq", "mmlu", "gsm8k", "lambada")


def record(regime: str, benchmark: str, outcome: str | None = None, effect: float | None = None, **fields) -> Record:
    common = {"model": "m", "method": "M", "dimension": "knowledge", "metric": "acc", "scale": "difference"}
    return Record(
        regime=regime, bits=4, benchmark=benchmark, n=400, baseline=0.5, outcome=outcome, effect=effect,
        **{**common, **fields},
    )  # fmt: skip


def grid(benchmarks=NAMES, outcome="INCONCLUSIVE", effect=-0.1234, regimes=REGIMES) -> list[Record]:
    return [
        record(regime, benchmark) if regime == "fp16" else record(regime, benchmark, outcome, effect)
        for regime in regimes
        for benchmark in benchmarks
    ]


def lines(records, width=80, regimes=REGIMES) -> list[str]:
    return ["".join(text for text, _ in spans) for spans in matrix(records, regimes, width)]


def headings(text: list[str]) -> list[str]:
    """Names in the headings, joined again where they were broken."""
    found: list[str] = []
    for at, line in enumerate(text):
        if line.startswith("regime"):
            start = next(above for above in range(at, -1, -1) if not text[above])
            rows = [text[above].ljust(200) for above in range(start + 1, at + 1)]
            begins = [
                column for column in range(7, 200)
                if any(row[column] != " " for row in rows) and all(row[column - 1] == " " for row in rows)
            ]  # fmt: skip
            for begin, end in zip(begins, [*begins[1:], 200], strict=True):
                found.append("".join(row[begin:end].strip() for row in rows))
    return found


def test_regimes_are_rows_and_benchmarks_columns():
    records = [
        record("fp16", "arc_easy"),
        record("fp16", "piqa"),
        record("bnb-nf4", "arc_easy", "FAIL", -0.0825),
        record("bnb-nf4", "piqa", "PASS", 0.005),
    ]
    assert lines(records) == [
        "",
        "regime   arc_easy   piqa",
        "fp16     50.0 %     50.0 %",
        "bnb-nf4  FAIL -8.2  PASS +0.5",
    ]


def test_rows_are_in_the_order_in_which_regimes_were_given_whatever_came_first():
    records = [
        record("gptq-4bit", "piqa", "PASS", 0.0),
        record("bnb-int8", "piqa", "PASS", 0.0),
        record("fp16", "piqa"),
    ]
    assert [line.split()[0] for line in lines(records) if line] == ["regime", "fp16", "bnb-int8", "gptq-4bit"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 1000])
def test_what_does_not_fit_side_by_side_goes_into_a_table_below(width):
    text = lines(grid(), width)
    assert max(map(len, text)) <= width
    assert headings(text) == sorted(NAMES)
    rows = [line for line in text if line.startswith("gptq-4bit")]
    assert (len(rows) == 1) == (width > 100)
    assert sum(line.count("-12.3") for line in rows) == len(NAMES)


def test_words_where_there_is_room_and_letters_with_their_key_where_there_is_little():
    assert any("INCONCL. -12.3" in line for line in lines(grid(), 1000))
    assert "I INCONCLUSIVE" not in lines(grid(), 1000)
    assert any("I -12.3" in line for line in lines(grid(), 80))
    assert lines(grid(), 80)[-1] == "I INCONCLUSIVE"


def test_a_long_name_is_broken_where_its_words_end():
    text = lines(grid(["commonsense_reasoning", "truthfulqa_mc2", "piqa"]), 60)
    assert headings(text) == ["commonsense_reasoning", "piqa", "truthfulqa_mc2"]
    assert len([line for line in text if line.startswith("regime")]) == 1
    assert "commonsense_" in text[1]


def test_tables_below_one_another_are_about_as_wide():
    text = lines(grid(NAMES[:7]), 60)
    counts = [len(line.split()) for line in text if line.startswith("gptq-4bit")]
    assert max(counts) - min(counts) <= 2


class TestManyOfBoth:
    """More than a few screens of tables: letters alone."""

    regimes = ("fp16", *(f"gptq-{bits}bit" for bits in range(2, 31)))
    benchmarks = tuple(f"subject_{at:02}" for at in range(25))

    @pytest.fixture
    def records(self) -> list[Record]:
        records = grid(self.benchmarks, "PASS", 0.01, self.regimes)
        records[-1] = record(self.regimes[-1], self.benchmarks[-1], "FAIL", -0.4)
        return records

    @pytest.mark.parametrize("width", [80, 120])
    def test_is_one_table_of_letters_that_fits(self, records, width):
        text = lines(records, width, self.regimes)
        assert max(map(len, text)) <= width
        rows = {line.split()[0]: line.split()[1:] for line in text if line.startswith("gptq-")}
        assert list(rows) == list(self.regimes[1:])
        assert {len(letters) for letters in rows.values()} == {25}
        assert rows["gptq-30bit"] == ["P"] * 24 + ["F"]
        assert len(text) < 50

    def test_every_column_has_a_number_that_its_name_is_given_for(self, records):
        text = lines(records, 80, self.regimes)
        at = next(at for at, line in enumerate(text) if line.startswith("regime"))
        tens, units = (line.ljust(80)[len("gptq-30bit  ") :: 2] for line in text[at - 1 : at + 1])
        numbers = [(ten + unit).strip() for ten, unit in zip(tens, units, strict=True)]
        assert [number for number in numbers if number] == [str(number) for number in range(1, 26)]
        for number, name in enumerate(self.benchmarks, 1):
            assert any(f"{number} {name} 50.0 %" in line for line in text)

    def test_the_letters_are_told(self, records):
        assert lines(records, 80, self.regimes)[-1] == "F FAIL, P PASS"


def test_a_column_that_is_wider_than_the_terminal_still_appears():
    name = "b" * 100
    assert name in headings(lines(grid(["piqa", name, "boolq"])))


def test_a_missing_cell_is_a_dash_and_a_missing_row_is_left_out():
    records = [record("fp16", "piqa"), record("bnb-nf4", "piqa", "PASS", 0.0), record("bnb-nf4", "boolq", "FAIL", -0.2)]
    assert lines(records)[2:4] == ["fp16     -           50.0 %", "bnb-nf4  FAIL -20.0  PASS +0.0"]
    assert not any("gptq" in line for line in lines(records))


def test_a_benchmark_without_signal_for_any_regime_is_told_below_and_takes_no_column():
    records = [
        *(record("fp16", name) for name in ("boolq", "mmlu", "piqa")),
        *(record("bnb-nf4", name, "NO_SIGNAL", reason="too close to chance") for name in ("mmlu", "boolq")),
        record("bnb-nf4", "piqa", "PASS", 0.0),
    ]
    assert lines(records)[1:] == [
        "regime   piqa",
        "fp16     50.0 %",
        "bnb-nf4  PASS +0.0",
        "",
        "no signal: boolq, mmlu (the baseline is near chance or all right on these items)",
    ]


def test_where_one_regime_has_a_verdict_the_others_say_that_they_have_none():
    records = [record("bnb-int8", "piqa", "PASS", 0.0), record("bnb-nf4", "piqa", "NO_SIGNAL")]
    assert lines(records)[1:] == ["regime    piqa", "bnb-int8  PASS +0.0", "bnb-nf4   no signal"]


def test_nothing_at_all_is_no_table():
    assert lines([]) == []


@pytest.mark.parametrize("width", [1000, 30])
def test_each_cell_has_the_colour_of_its_verdict_and_a_sign_beside_it(width):
    outcomes = {"boolq": "PASS", "mmlu": "FAIL", "piqa": "INCONCLUSIVE", "sciq": "NO_SIGNAL"}
    records = [record("bnb-nf4", name, outcome, 0.0) for name, outcome in outcomes.items()]
    records.append(record("gptq-4bit", "sciq", "PASS", 0.0))
    rows = [spans for spans in matrix(records, REGIMES, width) if spans[0][0].startswith("bnb-nf4")]
    cells = {text.split()[0]: markup for spans in rows for text, markup in spans[1:] if text.strip()}
    assert set(cells) == ({"PASS", "FAIL", "INCONCL.", "no"} if width == 1000 else {"P", "F", "I", "N"})
    assert list(cells.values()) == [{"green": True}, {"red": True}, {"yellow": True}, {}]
    assert all(spans[0][1] == {} for spans in rows)


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_the_worse_of_two_verdicts_on_one_benchmark_is_shown(metric):
    records = [record("bnb-nf4", "piqa", "FAIL", -0.2), record("bnb-nf4", "piqa", "PASS", 0.0, metric=metric)]
    assert "FAIL -20.0" in "\n".join(lines(records))


WORDS = st.lists(st.sampled_from(["arc", "easy", "german", "perplexity", "truthful", "qa"]), min_size=1, max_size=5)
BENCHMARKS = st.lists(WORDS.map("_".join), min_size=1, max_size=30, unique=True)


@given(BENCHMARKS, st.integers(1, 25), st.integers(40, 160), st.randoms(use_true_random=False))
def test_whatever_is_in_it_it_fits_and_has_a_cell_for_each(benchmarks, count, width, random):
    regimes = ("fp16", *(f"gptq-{at}bit" for at in range(count)))
    outcomes = ("PASS", "FAIL", "INCONCLUSIVE")
    records = [
        record(regime, name) if regime == "fp16" else record(regime, name, random.choice(outcomes), -random.random())
        for regime in regimes
        for name in benchmarks
    ]
    text = lines(records, width, regimes)
    longest = 4 + max(map(len, benchmarks))  # in the key a name stands unbroken, indented at most so far
    assert max(map(len, text)) <= max(width, longest)
    signs = {"PASS": {"PASS", "P"}, "FAIL": {"FAIL", "F"}, "INCONCLUSIVE": {"INCONCL.", "I"}}
    for regime in regimes[1:]:
        cells = [word for line in text if line.startswith(f"{regime} ") for word in line.split()[1:]]
        for outcome in outcomes:
            expected = sum(one.regime == regime and one.outcome == outcome for one in records)
            assert sum(word in signs[outcome] for word in cells) == expected
