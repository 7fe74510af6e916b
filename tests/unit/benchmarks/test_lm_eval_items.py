"""What the items of a benchmark say that they share: the shots where all have the same, and never half a word."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

DESCRIPTION = "Say what colour it is.\n\n"
COLOURS = ("red", "green", "blue", "grey")
SHOTS = [{"thing": f"training thing {word}", "colour": at % 4} for at, word in enumerate("abcdefgh")]
# They begin alike up to the middle of a word.
ASKED = [
    {"thing": f"thingam{word}", "colour": at % 4} for at, word in enumerate(("abob", "ajig", "atic", "a", "use") * 6)
]
ASKED = [{**document, "thing": f"{document['thing']}{at}"} for at, document in enumerate(ASKED)]


@pytest.fixture
def make(tmp_path):
    """A benchmark whose task has these fields, with its data in a directory."""

    def made(
        *, documents: list[dict[str, object]] = ASKED, subsets: tuple[str, ...] = (), **fields: object
    ) -> LmEvalBenchmark:
        for subset in subsets or ("",):
            folder = tmp_path / "data/colours" / subset
            folder.mkdir(parents=True, exist_ok=True)
            # In each subset the things have another name.
            for split, some in (("train", SHOTS), ("test", documents)):
                lines = [json.dumps({**one, "thing": f"{subset}{one['thing']}"}) for one in some]
                (folder / f"{split}.jsonl").write_text("\n".join(lines))
        task = {
            "task": "colours",
            "dataset_path": "json",
            "output_type": "multiple_choice",
            "training_split": "train",
            "test_split": "test",
            "fewshot_split": "train",
            "description": DESCRIPTION,
            "doc_to_text": "Q: What is the colour of {{thing}}?\nA:",
            "doc_to_choice": list(COLOURS),
            "doc_to_target": "{{colour}}",
            "num_fewshot": 3,
            **fields,
        }
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))  # which is YAML
        benchmark = Benchmark("colours", "knowledge", str(file), "acc", 20, 10, None, "none", subsets=subsets)
        return LmEvalBenchmark(benchmark, DataSource(str(tmp_path / "data"), Store(tmp_path / "cache")), seed=0)

    return made


@pytest.fixture
def store(tmp_path):
    """One that holds nothing at first."""
    names = iter(range(100))
    return lambda: Store(tmp_path / f"store{next(names)}")


FIXED = {"fewshot_config": {"sampler": "first_n"}}


def beginning(item: Item) -> str:
    (text,) = {request[0][: item.shared] for request in item.requests}
    return text


def question(thing: str, colour: int | None = None) -> str:
    answer = "" if colour is None else f" {COLOURS[colour]}\n\n"
    return f"Q: What is the colour of {thing}?\nA:{answer}"


def test_a_benchmark_s_own_number_of_shots_goes_before_its_task_s(make, store):
    benchmark = make(**FIXED)
    fewer = LmEvalBenchmark(replace(benchmark.benchmark, shots=1), benchmark.source, 0)
    (one, three) = (made.items(1, store())[0].requests[0][0].count("Q:") for made in (fewer, benchmark))
    assert (one, three) == (2, 4)
    assert fewer.identity() != benchmark.identity()


def test_shots_are_never_taken_from_the_questions(make, store):
    with pytest.raises(QllmError, match=r"colours shows 3 examples of its split 'dev', which .* has not; it has: test"):
        make(fewshot_split="dev").items(2, store())


def test_fixed_shots_are_shared_whole(make, store):
    items = make(**FIXED).items(20, store())
    shots = "".join(question(shot["thing"], shot["colour"]) for shot in SHOTS[:3])
    assert {beginning(item) for item in items} == {DESCRIPTION + shots + "Q: What is the colour of "}
    assert items[0].requests[0][0][items[0].shared :].startswith("thingam")


@pytest.mark.parametrize("fields", [FIXED, {}], ids=["fixed", "drawn"])
def test_items_and_what_they_share_do_not_depend_on_how_many_there_are(make, store, fields):
    every = make(**fields).items(30, store())
    assert len({item.id for item in every}) == 30
    for count in (1, 2, 7, 29):
        assert make(**fields).items(count, store()) == every[:count]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(FIXED, id="fixed"),
        pytest.param({}, id="drawn"),
    ],
)
def test_items_do_not_depend_on_what_was_asked_of_the_benchmark_before(make, store, fields):
    """As long as one object lives; two counts in one session are two such calls."""
    first = make(**fields).items(10, store())
    benchmark = make(**fields)
    benchmark.items(3, store())
    assert benchmark.items(10, store()) == first


def test_drawn_shots_share_the_description_alone(make, store):
    items = make().items(20, store())
    (text,) = {beginning(item) for item in items}
    assert text.startswith(DESCRIPTION)
    assert text == DESCRIPTION + "Q: What is the colour of training thing "


def test_what_is_stored_is_what_was_made(make, store):
    kept = store()
    assert make(**FIXED).items(10, kept) == make(**FIXED).items(10, kept)


def test_never_ends_within_a_word(make, store):
    for item in make(**FIXED, num_fewshot=0, description="").items(10, store()):
        assert beginning(item) == "Q: What is the colour of "
    for item in make(**FIXED, num_fewshot=0, description="", doc_to_text="{{thing}}").items(10, store()):
        assert item.shared == 0


def test_ends_after_a_line_where_no_space_comes_later(make, store):
    task = {"num_fewshot": 0, "description": "Say:\n", "doc_to_text": "{{thing}}"}
    assert {beginning(item) for item in make(**task).items(10, store())} == {"Say:\n"}


def test_a_choice_that_is_in_the_context_is_not_shared(make, store):
    """As in Winogrande, where each request of an item has a context of its own."""
    items = make(
        **FIXED,
        doc_to_text="{{colour}}",
        doc_to_choice="{{[thing + ' a', thing + ' b', 'x', 'y']}}",
        doc_to_target="is it",
    )
    for item in items.items(10, store()):
        assert len({request[0] for request in item.requests}) == 4
        assert beginning(item).startswith(DESCRIPTION)


def test_is_of_each_subset(make, store):
    items = make(**FIXED, subsets=("old ", "new ")).items(40, store())
    for subset in ("old ", "new "):
        (text,) = {beginning(item) for item in items if item.subset == subset}
        assert text.startswith(DESCRIPTION + question(f"{subset}{SHOTS[0]['thing']}", 0))
        assert text.endswith(f"Q: What is the colour of {subset}")


def test_is_nothing_where_a_subset_has_one_document(make, store):
    (item,) = make(**FIXED, documents=ASKED[:1]).items(5, store())
    assert item.shared == 0


def test_a_later_item_that_does_not_begin_so_shares_nothing(make, store):
    """It is told by the first documents; another one may begin in another way."""
    benchmark = make(**FIXED, num_fewshot=0, description="", doc_to_text="{{thing}}?")
    # The order is by hash: documents are renamed by their place in it.
    order = [item.document for item in benchmark.items(30, store())]
    assert all(item.shared == 0 for item in benchmark.items(30, store()))
    known = "the same words "
    common = {document["thing"]: known for document in order[:12]}
    template = "{% if thing in " + json.dumps(list(common)) + " %}" + known + "{% endif %}{{thing}}?"
    benchmark = make(**FIXED, num_fewshot=0, description="", doc_to_text=template)
    shared = [item.shared for item in benchmark.items(30, store())]
    assert shared == [len(known)] * 12 + [0] * 18


def test_every_request_says_what_its_item_shares(make, store):
    for item in make(**FIXED).items(5, store()):
        assert item.shared > len(DESCRIPTION)
        assert [request.shared for request in item.continuations()] == [item.shared] * 4


GENERATIVE = {
    "output_type": "generate_until",
    "doc_to_choice": None,
    "doc_to_target": "{{colour}}",
    "metric_list": [{"metric": "exact_match"}],
}


class TestGeneration:
    def request(self, make, store, count: int = 1, seed: int = 0, **options):
        items = make(**FIXED, **GENERATIVE, generation_kwargs=options).items(count, store())
        requests = [item.generation(seed) for item in items]
        assert [request.shared for request in requests] == [item.shared for item in items]
        return requests[0] if count == 1 else requests

    def test_is_greedy_by_default(self, make, store):
        request = self.request(make, store, until=["\n"])
        assert request.context.startswith(DESCRIPTION)
        assert (request.until, request.temperature, request.top_k, request.top_p) == (("\n",), 0.0, 0, 1.0)

    def test_has_the_limit_of_its_task_or_that_of_lm_eval(self, make, store):
        assert self.request(make, store, until=["\n"], max_gen_toks=7).limit == 7
        assert self.request(make, store, until=["\n"]).limit == 256

    @pytest.mark.parametrize("name", ["max_new_tokens", "max_tokens", "max_completion_tokens"])
    def test_has_the_limit_of_its_task_by_any_name_that_lm_eval_takes(self, make, store, name):
        assert self.request(make, store, until=["\n"], **{name: 7}).limit == 7

    def test_samples_from_as_many_tokens_as_lm_eval_by_default(self, make, store):
        assert self.request(make, store, until=["\n"], do_sample=True, temperature=0.7).top_k == 50

    @pytest.mark.parametrize("options", [{"do_sample": False, "temperature": 0.7}, {"temperature": 0.0}])
    def test_a_temperature_does_not_count_where_nothing_is_sampled(self, make, store, options):
        assert self.request(make, store, until=["\n"], **options).temperature == 0

    def test_samples_as_its_task_says(self, make, store):
        options = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 30}
        request = self.request(make, store, until=["\n"], **options)
        assert (request.temperature, request.top_k, request.top_p) == (0.7, 30, 0.9)
        assert self.request(make, store, until=["\n"], do_sample=True).temperature == 1.0

    def test_each_item_has_a_seed_of_its_own_which_hangs_on_the_session_s(self, make, store):
        seeds = [[one.seed for one in self.request(make, store, 20, seed=seed, until=["\n"])] for seed in (0, 0, 1)]
        assert seeds[0] == seeds[1]
        assert len({*seeds[0], *seeds[2]}) == 40
        assert all(0 <= seed < 2**32 for seed in seeds[0])

    def test_a_stop_string_alone_is_one(self):
        item = Item("id", "generate_until", {}, (("context", {"until": "\n\n"}),), 0.0, "")
        assert item.generation(0).until == ("\n\n",)
        assert replace(item, requests=(("context", {}),)).generation(0).until == ()


def test_a_dataset_that_the_task_loads_may_not_change(tmp_path):
    """As of one on the hub, of which no revision is pinned; another dataset under that name is another one."""
    (tmp_path / "load.py").write_text(
        "import json, datasets\nfrom pathlib import Path\n\n"
        "def documents(**_):\n"
        "    read = json.loads((Path(__file__).parent / 'hub.json').read_text())\n"
        "    return datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in read.items()})\n"
    )
    task = """
task: colours
dataset_path: someone/colours
custom_dataset: !function load.documents
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "{{thing}}"
doc_to_choice: [red, green, blue, grey]
doc_to_target: colour
"""
    (tmp_path / "colours.yaml").write_text(task)
    benchmark = Benchmark("colours", "knowledge", str(tmp_path / "colours.yaml"), "acc", 20, 10, hub="someone/colours")
    source = DataSource("auto", Store(tmp_path / "cache"))

    def prepare(asked: list[dict], shots: list[dict] = SHOTS) -> None:
        (tmp_path / "hub.json").write_text(json.dumps({"train": shots, "test": asked}))
        LmEvalBenchmark(benchmark, source, seed=0).prepare()

    prepare(ASKED)
    prepare(ASKED[::-1], SHOTS[1:])  # neither their order counts, nor a split that nothing asks
    with pytest.raises(QllmError, match=r"^colours: the items in hub someone/colours .* found test 29") as refused:
        prepare(ASKED[1:])
    (tmp_path / "colours.yaml").write_text(task.replace("someone/colours", "other/colours"))
    prepare(ASKED[1:])
    (tmp_path / "colours.yaml").write_text(task)
    Path(str(refused.value).rpartition("delete ")[2]).unlink()
    prepare(ASKED[1:])
