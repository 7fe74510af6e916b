"""Do the paper's orderings hold on the built-in model: SpQR against GPTQ, fewer bits against more, outliers or not?

Each regime's dense weights, in float32, on the first stories of `story_perplexity`: perplexity, mean KL divergence from
the FP16 baseline in nats, and how often the top token is the same; beside them the effective bits per weight and the
share of outliers (simulated regimes tell). Quantized models come from the store, or are made: two minutes of CPU for
each calibrated one.

    OMP_NUM_THREADS=1 python perf/orderings.py --store DIR --json FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import exp
from pathlib import Path
from time import process_time
from typing import Any

import torch

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.engine.divergence import compare
from pytest_qllm.models import source
from pytest_qllm.models.loader import load_dense, load_tokenizer
from pytest_qllm.options import cache_directory
from pytest_qllm.regimes import accounting
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import Store
from pytest_qllm.workshop import Compute, Workshop

WINDOW = 512
"""Tokens of a story that are scored, at most."""

REGIMES = (
    "rtn-8bit,rtn-4bit,rtn-3bit,rtn-2bit,spqr-2bit,spqr-2bit-no-outliers,spqr-3bit,spqr-4bit,spqr-8bit,spqr-2bit-g128,"
    "gptq-8bit,gptq-4bit,gptq-3bit,gptq-2bit"
)
NOT_WORSE = (
    # spqr no worse than gptq
    *((f"spqr-{bits}bit", f"gptq-{bits}bit") for bits in (8, 4, 3, 2)),
    # error grows as bits fall
    *((f"{method}-{more}bit", f"{method}-{fewer}bit")
      for method in ("rtn", "gptq", "spqr", "slim", "nested") for more, fewer in ((8, 4), (4, 3), (3, 2))),
    # the solver against plain rounding
    *((f"gptq-{bits}bit", f"rtn-{bits}bit") for bits in (4, 3, 2)),
    # the ablations at 2 bits
    ("spqr-2bit", "spqr-2bit-no-outliers"),
    ("spqr-2bit", "spqr-2bit-g128"),
)  # fmt: skip
"""Pairs of which the first should not be worse."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--regimes", default=REGIMES)
    parser.add_argument("--texts", type=int, default=20, help="stories (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, help="read what it has, and write each regime's figures when they are there"
    )
    given = parser.parse_args()
    rows: dict[str, dict[str, Any]] = json.loads(given.json.read_text()) if given.json and given.json.is_file() else {}
    measure(given.regimes.split(","), given.texts, Store(given.store, print), rows, given.json)
    report(rows)


def measure(names: Sequence[str], texts: int, store: Store, rows: dict[str, dict[str, Any]], file: Path | None) -> None:
    """Add the figures of each regime that ``rows`` lacks."""
    cache = Store(cache_directory())
    data = DataSource("auto", cache)
    shop = Workshop(lambda: source.resolve(source.DEFAULT, cache), data, Compute("float32", "cpu", 1), 0, store)
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(shop.checkpoint.path)
    splits = data.splits(BenchmarkCatalog().get("story_perplexity"), "")
    assert splits is not None
    (split,) = splits.values()
    stories = [torch.tensor([tokenizer.encode(split[at]["story"])[:WINDOW]]) for at in range(texts)]
    baseline = load_dense(shop.checkpoint.path, torch.float32, "cpu")
    with torch.inference_mode():
        states = [baseline.base_model(story).last_hidden_state[0, :-1] for story in stories]
    head = baseline.get_output_embeddings()
    catalog = RegimeCatalog()
    for name in names:
        if name in rows:
            continue
        regime, begun = catalog.get(name), process_time()
        model = baseline if regime.is_baseline else shop.load(regime, "dense")
        made = process_time() - begun
        rows[name] = figures(model, stories, states, head) | {"seconds": made} | size(shop, regime)
        print(line(name, rows[name]), flush=True)
        if file:
            file.write_text(json.dumps(rows, indent=1))


@torch.inference_mode()
def figures(model: Any, stories: Sequence[torch.Tensor], states: Sequence[torch.Tensor], head: Any) -> dict[str, float]:
    """Perplexity, mean KL divergence and agreement over all positions of all stories."""
    loss, compared = 0.0, []
    for story, known in zip(stories, states, strict=True):
        logits, targets = model(story).logits[0, :-1], story[0, 1:]
        loss -= float(logits.log_softmax(-1).gather(1, targets[:, None]).sum())
        compared.append(compare(head(known), logits, targets))
    table = torch.cat(compared)
    return {"ppl": exp(loss / len(table)), "kl": float(table[:, 0].mean()), "agreement": float(table[:, 1].mean())}


def size(shop: Workshop, regime: Regime) -> dict[str, Any]:
    told = None if regime.is_baseline else accounting.read(shop.artifact(regime))
    return {"bits": told["bits_per_weight"], "outliers": told["outlier_share"]} if told else {}


def line(name: str, row: dict[str, Any]) -> str:
    bits = f"{row['bits']:6.2f} {100 * row['outliers']:7.3f} %" if "bits" in row else f"{'':16}"
    return f"{name:24}{row['ppl']:12.2f}{row['kl']:9.4f}{row['agreement']:7.3f}  {bits}{row['seconds']:8.0f} s"


def report(rows: dict[str, dict[str, Any]]) -> None:
    """The table, and for each pair that was measured whether its ordering holds."""
    print(f"\n{'regime':24}{'perplexity':>12}{'KL':>9}{'top':>7}  {'bits':>6}{'outliers':>10}{'CPU':>9}")
    for name, row in rows.items():
        print(line(name, row))
    for better, worse in NOT_WORSE:
        if better in rows and worse in rows:
            one, other = rows[better], rows[worse]
            holds = {key: "holds" if one[key] <= other[key] else "DOES NOT HOLD" for key in ("ppl", "kl")}
            print(f"{better} no worse than {worse}: perplexity {holds['ppl']}, KL {holds['kl']}")


if __name__ == "__main__":
    main()
