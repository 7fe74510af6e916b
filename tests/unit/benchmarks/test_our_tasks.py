"""The tasks of ours, as lm-eval reads them: what is asked, what is right, and how an answer is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.tasks.cnn_dailymail import utils as cnn_dailymail

from pytest_qllm.benchmarks import task_file

ARTICLE = {"article": "Three boats left the harbour. One came back.", "highlights": "Three boats left.\nOne came back."}
PAIR = {"sentence_eng_Latn": "The sky is blue.", "sentence_zho_Hans": "天空是蓝色的。"}


def task(name, documents):
    config = load_yaml(Path(task_file.__file__).parent / "tasks" / f"{name}.yaml")
    split = config["test_split"]
    config["custom_dataset"] = lambda **_: {split: Dataset.from_list(documents)}
    config |= dict.fromkeys(("training_split", "validation_split", "fewshot_split"))
    return ConfigurableTask(config=config)


def asked(made, document):
    return made.fewshot_context(document, 0)


def test_snli_asks_yes_no_or_maybe_and_leaves_out_what_nobody_agreed_on():
    documents = [
        {"premise": "A man sleeps.", "hypothesis": "A man is awake", "label": 2},
        {"premise": "A man sleeps.", "hypothesis": "A man dreams.", "label": -1},
    ]
    made = task("snli", documents)
    (document,) = made.eval_docs
    assert asked(made, document) == "A man sleeps.\nQuestion: A man is awake. Yes, no or maybe?\nAnswer:"
    assert (made.doc_to_choice(document), made.doc_to_target(document)) == (["Yes", "Maybe", "No"], 2)


def test_cnn_dailymail_is_lm_eval_s_without_bertscore():
    made = task("cnn_dailymail", [ARTICLE])
    theirs = load_yaml(Path(cnn_dailymail.__file__).parent / "cnn_dailymail.yaml")
    assert made.config.doc_to_text == theirs["doc_to_text"]
    assert made.config.generation_kwargs["max_gen_toks"] == theirs["generation_kwargs"]["max_gen_toks"]
    summary = "Three boats  left the harbours.\n\nNone came."
    expected = cnn_dailymail.process_results(ARTICLE, [summary])
    found = made.process_results(ARTICLE, [summary])
    assert set(found) == {"rouge1", "rouge2", "rougeL"}
    assert found == {name: pytest.approx(expected[name]) for name in found}
    assert 0 < found["rouge2"] < found["rouge1"] < 1


def test_xsum_asks_for_one_sentence():
    document = {"document": ARTICLE["article"], "summary": "Three boats left."}
    made = task("xsum", [document])
    assert asked(made, document).startswith("Summarize the following article in one sentence:\n\nThree boats")
    assert made.process_results(document, ["Three boats left."]) == dict.fromkeys(("rouge1", "rouge2", "rougeL"), 1.0)


def test_flores_translates_both_ways():
    chinese, english = task("flores_en_zh", [PAIR]), task("flores_zh_en", [PAIR])
    assert asked(chinese, PAIR) == "English sentence: The sky is blue.\nChinese sentence:"
    assert asked(english, PAIR) == "Chinese sentence: 天空是蓝色的。\nEnglish sentence:"
    (pair,) = {tuple(value) for value in chinese.process_results(PAIR, ["天空是蓝的。"]).values()}
    assert pair == ("天空是蓝色的。", "天空是蓝的。")
    assert chinese.aggregation()["bleu_zh"]([pair]) > 20
    assert tuple(english.process_results(PAIR, ["The sky is blue."])["bleu"]) == (PAIR["sentence_eng_Latn"],) * 2


@pytest.mark.parametrize("name", ["text", "ptb"])
def test_a_text_is_scored_as_a_whole(name):
    made = task(name, [{"text": "no it was n't black monday"}])
    assert made.doc_to_target(made.eval_docs[0]) == "no it was n't black monday"
    assert made.OUTPUT_TYPE == "loglikelihood_rolling"


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("snli", ["snli.yaml", "snli.py"]),
        ("flores_en_zh", ["flores_en_zh.yaml", "_flores.yaml", "flores.py"]),
        ("xsum", ["xsum.yaml", "summaries.py"]),
    ],
)
def test_the_store_s_key_has_all_that_a_task_is_made_of(name, named):
    files = task_file._with_includes(Path(task_file.__file__).parent / "tasks" / f"{name}.yaml")
    assert [file.name for file in files] == named
