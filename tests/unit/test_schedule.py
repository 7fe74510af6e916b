"""The order of tests alone, and which worker gets which under xdist, with nodes that behave as xdist's do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from types import SimpleNamespace

import pytest
from xdist.scheduler import LoadScheduling

from pytest_qllm.schedule import is_alone, make_scheduler, order, parameters, regime_of

REGIMES = ("fp16", "bnb-int8", "bnb-nf4", "gptq-4bit")


class TestRegimeOf:
    @pytest.mark.parametrize(
        ("nodeid", "expected"),
        [
            ("suites/test_mmlu.py::test_mmlu[gptq-4bit]", "gptq-4bit"),
            ("test_x.py::test_x[en-gptq-4bit]", "gptq-4bit"),
            ("test_x.py::test_x[gptq-4bit-en]", "gptq-4bit"),
            ("test_x.py::TestX::test_x[a-fp16-b]", "fp16"),
            ("test_x.py::test_x[fp16]@group", "fp16"),  # --dist loadgroup
            ("test_x.py::test_x", None),
            ("test_x.py::test_fp16", None),
            ("test_x.py::test_x[]", None),
            ("test_x.py::test_x[fp16x]", None),
            ("test_x.py::test_x[bnb]", None),
            ("test_x.py::test_x[gptq-4bits]", None),
        ],
    )
    def test_is_found_in_the_id(self, nodeid, expected):
        assert regime_of(nodeid, REGIMES) == expected

    @pytest.mark.parametrize("name", ["gptq-4bit", "auto-gptq-4bit", "gptq", "4bit"])
    def test_of_names_that_contain_one_another_the_longest_is_meant(self, name):
        names = ("fp16", "4bit", "gptq", "gptq-4bit", "auto-gptq-4bit")
        assert regime_of(f"test_x.py::test_x[en-{name}-zero]", names) == name

    def test_a_bracket_in_a_folder_s_name_does_not_hide_it(self):
        assert regime_of("run[1]/test_x.py::test_x[fp16]", REGIMES) == "fp16"


def item(name: str, **params: object) -> SimpleNamespace:
    """A collected test, as far as `order` looks at it."""
    return SimpleNamespace(name=name, callspec=SimpleNamespace(params=params)) if params else SimpleNamespace(name=name)


class TestParameters:
    def test_are_every_regime_of_a_gate_and_no_baseline_of_a_cost(self):
        assert parameters(["fp16", "a", "b"], ["gate"]) == (["fp16", "a", "b"], ["fp16", "a", "b"])
        assert parameters(["fp16", "a", "b"], ["efficiency"]) == (["a", "b"], ["a-alone", "b-alone"])

    def test_an_id_has_its_regime_all_the_same(self):
        assert regime_of("t.py::test_x[bnb-nf4-alone]", REGIMES) == "bnb-nf4"


class TestOrder:
    def test_is_other_tests_then_baselines_then_regime_by_regime(self):
        items = [
            item(f"{test}-{regime}", qllm_regime=regime)
            for test in ("arc", "piqa")
            for regime in ("bnb-nf4", "fp16", "bnb-int8")
        ]
        items.insert(3, item("other"))
        order(items, ["fp16", "bnb-int8", "bnb-nf4"])
        assert [one.name for one in items] == [
            *("other", "arc-fp16", "piqa-fp16"),
            *("arc-bnb-int8", "piqa-bnb-int8", "arc-bnb-nf4", "piqa-bnb-nf4"),
        ]

    def test_a_project_s_own_parameter_of_a_regime_s_name_orders_nothing(self):
        items = [item("b[bnb-nf4]", regime="bnb-nf4"), item("a[fp16]", regime="fp16"), item("c[1]", number=1)]
        order(items, REGIMES)
        assert [one.name for one in items] == ["b[bnb-nf4]", "a[fp16]", "c[1]"]


class Node:
    """xdist's WorkerController: its worker runs a test once it knows the next one, or that there is none."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.queue: list[int] = []
        self.ran: list[str] = []
        self.shutting_down = False

    def __repr__(self) -> str:
        return str(self.gateway.id)

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) >= 2 or (bool(self.queue) and self.shutting_down)


class Session:
    """What xdist's DSession does with a scheduler; every test takes one turn, of all nodes together."""

    def __init__(self, ids: Sequence[str], nodes: int) -> None:
        self.ids = list(ids)
        self.config = FakeConfig(nodes)
        silent = SimpleNamespace(loadsched=lambda *_: None, loadscopesched=lambda *_: None)
        self.scheduler = make_scheduler(self.config, silent, REGIMES)
        self.nodes = [Node(f"gw{number}") for number in range(nodes)]
        self.crashes: list[str] = []
        for node in self.nodes:
            self.scheduler.add_node(node)
        for node in self.nodes:
            self._collected(node)

    def run(self, crash: str | None = None) -> list[list[str]]:
        """Turns, each with the tests that ran side by side; ``crash`` kills the worker that runs it."""
        turns: list[list[str]] = []
        while running := [node for node in self.nodes if node.can_run]:
            assert len(turns) < 100
            turns.append([])
            for node in running:
                nodeid = self.ids[index := node.queue.pop(0)]
                turns[-1].append(nodeid)
                node.ran.append(nodeid)
                if nodeid == crash:
                    self._crashed(node)
                else:
                    self.scheduler.mark_test_complete(node, index)
                self._end()
        return turns

    def completed(self, node: Node, index: int) -> None:
        self.scheduler.mark_test_complete(node, index)
        self._end()

    def _end(self) -> None:
        if self.scheduler.tests_finished:
            for node in self.nodes:
                node.shutdown()

    def _collected(self, node: Node) -> None:
        self.scheduler.add_node_collection(node, self.ids)
        if self.scheduler.collection_is_completed:
            self.scheduler.schedule()

    def _crashed(self, node: Node) -> None:
        self.crashes.append(self.scheduler.remove_node(node))
        self.nodes.remove(node)
        replacement = Node(f"gw{9 + len(self.crashes)}")
        self.nodes.append(replacement)
        self.scheduler.add_node(replacement)
        self._collected(replacement)


class FakeConfig:
    """The part of pytest's config that xdist's schedulers read."""

    option = SimpleNamespace(loadscopereorder=True)

    def __init__(self, nodes: int, dist: str = "load") -> None:
        self.values = {"tx": ["popen"] * nodes, "dist": dist, "maxschedchunk": None}

    def getvalue(self, name: str) -> object:
        return self.values[name]

    def getoption(self, name: str, default: object = None) -> object:
        return self.values.get(name, default)


def suite(benchmarks: int, regimes: Sequence[str] = REGIMES) -> list[str]:
    return [f"test_s.py::test_{number}[{regime}]" for regime in regimes for number in range(benchmarks)]


def ran(turns: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(chain.from_iterable(turns))


def loads(node: Node) -> list[str]:
    """The models that a worker loads, one after the other."""
    names = [regime_of(nodeid, REGIMES) for nodeid in node.ran]
    return [name for at, name in enumerate(names) if name != (names[at - 1] if at else None)]


class TestWorkers:
    @pytest.mark.parametrize("nodes", [1, 2, 3, 4, 7, 40])
    @pytest.mark.parametrize("benchmarks", [1, 2, 5])
    def test_each_test_runs_once(self, nodes, benchmarks):
        ids = suite(benchmarks)
        assert ran(Session(ids, nodes).run()) == Counter(ids)

    @pytest.mark.parametrize("nodes", [2, 3])
    def test_baselines_are_first_and_spread_over_the_workers(self, nodes):
        turns = Session(suite(6), nodes).run()
        assert ran(turns[: 6 // nodes]) == Counter(suite(6, ["fp16"]))

    def test_other_tests_come_before_all(self):
        turns = Session([*suite(2), "test_o.py::test_a", "test_o.py::test_b"], 2).run()
        assert sorted(turns[0]) == ["test_o.py::test_a", "test_o.py::test_b"]

    def test_a_worker_loads_one_regime_after_the_baseline(self):
        session = Session(suite(5), 3)
        session.run()
        assert sorted(loads(node)[:2] for node in session.nodes) == [["fp16", name] for name in sorted(REGIMES[1:])]

    def test_an_idle_worker_helps_with_the_regime_that_has_most_to_do(self):
        ids = [*suite(2, ["fp16"]), *suite(2, ["bnb-int8"]), *suite(12, ["bnb-nf4"])]
        session = Session(ids, 2)
        turns = session.run()
        assert [len(turn) for turn in turns] == [2] * 8
        assert sorted(loads(node) for node in session.nodes) == [["fp16", "bnb-int8", "bnb-nf4"], ["fp16", "bnb-nf4"]]

    def test_more_workers_than_regimes_are_all_at_work(self):
        turns = Session(suite(8, ["fp16", "bnb-nf4"]), 4).run()
        assert [len(turn) for turn in turns] == [4, 4, 4, 4]


class TestCrash:
    ids = suite(3)
    crash = "test_s.py::test_1[bnb-nf4]"

    @pytest.mark.parametrize("crash", ["test_s.py::test_1[fp16]", crash])
    def test_the_work_of_a_crashed_worker_is_given_out_again(self, crash):
        session = Session(self.ids, 2)
        found = ran(session.run(crash))
        assert session.crashes == [crash]
        assert found == Counter(self.ids)

    def test_a_crash_in_the_last_test_ends_the_session(self):
        session = Session(self.ids, 2)
        assert ran(session.run(self.ids[-1])) == Counter(self.ids)
        assert session.crashes == [self.ids[-1]]

    def test_the_worker_that_takes_its_place_starts_at_once(self):
        session = Session(suite(10), 2)
        session.run("test_s.py::test_0[fp16]")
        assert len(session.nodes[-1].ran) > 10


class TestOtherSuites:
    def test_tests_without_regimes_are_spread_as_xdist_does(self):
        ids = [f"test_o.py::test_{number}" for number in range(20)]
        config = FakeConfig(2)
        usual = LoadScheduling(config)
        nodes = [Node("gw0"), Node("gw1")]
        for node in nodes:
            usual.add_node(node)
        for node in nodes:
            usual.add_node_collection(node, ids)
        usual.schedule()
        session = Session(ids, 2)
        assert [node.queue for node in session.nodes] == [node.queue for node in nodes]
        assert ran(session.run()) == Counter(ids)

    @pytest.mark.parametrize("dist", ["loadscope", "loadfile", "worksteal", "each", "no"])
    def test_another_dist_is_obeyed(self, dist):
        assert make_scheduler(FakeConfig(2, dist), None, REGIMES) is None


def timed(benchmarks: int, regimes: Sequence[str] = REGIMES[1:]) -> list[str]:
    return [f"test_e.py::test_{number}[{regime}-alone]" for regime in regimes for number in range(benchmarks)]


class TestAlone:
    @pytest.mark.parametrize("nodes", [1, 2, 3, 8])
    @pytest.mark.parametrize("others", [0, 1, 2, 5])
    @pytest.mark.parametrize("count", [1, 2, 3])
    @pytest.mark.parametrize("regimes", [REGIMES[1:2], REGIMES[1:]])
    def test_runs_last_one_at_a_time_and_on_one_worker(self, nodes, others, count, regimes):
        alone = timed(count, regimes)
        ids = [*suite(others, ["fp16", *regimes]), *alone]
        session = Session(ids, nodes)
        turns = session.run()
        assert ran(turns) == Counter(ids)
        assert turns[-len(alone) :] == [[one] for one in alone]
        assert len({node for node in session.nodes if set(node.ran) & set(alone)}) == 1

    @pytest.mark.parametrize(
        "crash", [*timed(2, REGIMES[1:2]), "test_s.py::test_1[bnb-nf4]", "test_s.py::test_1[fp16]"]
    )
    def test_a_crash_loses_one_test_and_leaves_the_others_alone(self, crash):
        alone = timed(2)
        ids = [*suite(3), *alone]
        session = Session(ids, 2)
        turns = session.run(crash)
        assert session.crashes == [crash]
        assert ran(turns) == Counter(ids)
        assert all(len(turn) == 1 for turn in turns if set(turn) & set(alone))

    @pytest.mark.parametrize("seed", range(40))
    def test_waits_for_every_other_test_however_long_each_takes(self, seed):
        chance = random.Random(seed)
        alone = timed(chance.randint(1, 3), REGIMES[1 : chance.randint(2, 4)])
        ids = [*suite(chance.randint(0, 4)), *alone]
        session = Session(ids, chance.randint(1, 4))
        running: dict[Node, int] = {}
        finished = []
        while True:
            running |= {node: node.queue.pop(0) for node in session.nodes if node not in running and node.can_run}
            if not running:
                break
            names = [ids[index] for index in running.values()]
            assert len(names) == 1 or not set(names) & set(alone)
            node = chance.choice(list(running))
            index = running.pop(node)
            finished.append(ids[index])
            session.completed(node, index)
        assert Counter(finished) == Counter(ids)

    @pytest.mark.parametrize(
        ("nodeid", "expected"),
        [
            ("t.py::test_x[bnb-nf4-alone]", True),
            ("t.py::test_x[en-bnb-nf4-alone]", True),
            ("t.py::test_x[bnb-nf4-alone]@group", True),
            ("t.py::test_x[bnb-nf4]", False),
            ("t.py::test_alone", False),
            ("t.py::test_x[lonely-aloneness]", False),
        ],
    )
    def test_is_told_by_the_id(self, nodeid, expected):
        assert is_alone(nodeid) is expected
