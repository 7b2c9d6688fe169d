"""One run in a few tables: facts, accuracy by width, every test, clients by domain."""

from __future__ import annotations

from collections import Counter
from statistics import mean
from typing import Any

from splitmix.privacy.accounting import OUTSIDE, Guarantee
from splitmix.progress import clock
from splitmix.reporting.tables import METRIC_NAMES, UNKNOWN, metric_text, percent, quantity
from splitmix.runs.run import Run

TEST_KEYS = ("attack", "adv_lambda", "bn", "mix", "checkpoint", "sort_base_models", "n_images")


def facts(run: Run) -> dict[str, str]:
    """What the run is and how far it got."""
    results, best = run.results, run.results.get("best_round")
    done = max((int(row["round"]) + 1 for row in run.metrics), default=0) if has_metrics(run) else 0
    metric = "counted from 1 (highest validation accuracy;"
    private = results.get("privacy")
    return {
        "status": f"{results['status']}, {done} of {results.get('rounds', UNKNOWN)} rounds",
        "algorithm": run.label,
        "data, model": f"{results['dataset']}, {results['model']}",
        "seed": str(run.seed),
        "best round": UNKNOWN if best is None else f"{best + 1}, {metric} {best} in metrics.csv)",
        **({"privacy": f"{Guarantee.of(private).text}. {OUTSIDE}"} if private else {}),
        "started": f"{results['started']}, {clock(results.get('wall_s') or 0.0)} of training",
        "config hash": str(results.get("config_hash", UNKNOWN)),
        "git commit": results.get("git") or UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in results.get("versions", {}).items()),
    }


def has_metrics(run: Run) -> bool:
    """Whether a round has been logged."""
    return (run.folder / "metrics.csv").is_file()


def width_rows(run: Run) -> list[list[str]]:
    """Header and rows: accuracy in the best round (RA where it was measured) and at the final test, cost, by width."""
    best = -1 if run.results.get("best_round") is None else run.results["best_round"]
    fixed = ["sa_fixed"] if any("sa_fixed" in record for record in run.widths.values()) else []
    robust = has_metrics(run) and any(run.curve(f"val_ra/{width}") for width in run.widths)
    metrics = {"val_sa": "validation SA", **({"val_ra": "validation RA"} if robust else {})}
    rows = [["width", *metrics.values(), "test SA", *(["fixed"] if fixed else []), "MACs/image", "parameters"]]
    for width, record in sorted(run.widths.items()):
        curves = [run.curve(f"{metric}/{width}") if has_metrics(run) else {} for metric in metrics]
        accuracies = [curve.get(best + 1) for curve in curves] + [record.get(key) for key in ("sa", *fixed)]
        rows.append([f"×{width:g}", *map(percent, accuracies), quantity(record["macs"]), quantity(record["params"])])
    return rows


def test_rows(run: Run) -> list[list[str]]:
    """Header and rows: one row per question, one column per width; what all questions share is not repeated."""
    accuracies: dict[str, dict[float, float]] = {}
    varies = [key for key in TEST_KEYS if len({repr(record[key]) for record in run.records}) > 1]
    for record in run.records:
        accuracies.setdefault(question(record, varies), {})[record["width"]] = record["accuracy"]
    widths = sorted({width for by_width in accuracies.values() for width in by_width})
    if not accuracies:
        return []
    # Questions go down and widths across: there are more of the former, and their names are longer.
    return [["test", *(f"×{width:g}" for width in widths)]] + [
        [name, *(f"{100 * by_width[width]:.1f}" if width in by_width else UNKNOWN for width in widths)]
        for name, by_width in accuracies.items()
    ]


def metric_rows(run: Run) -> list[list[str]]:
    """Header and rows: the metrics of every test and width that has some, beside its accuracy."""
    varies = [key for key in TEST_KEYS if len({repr(record[key]) for record in run.records}) > 1]
    records = [record for record in run.records if record.get("metrics")]
    names = [name for name in METRIC_NAMES if any(name in record["metrics"] for record in records)]
    names = [name for name in names if name != "accuracy"]
    if not names:
        return []
    rows = [["test", "width", "accuracy", *(METRIC_NAMES[name] for name in names)]]
    for record in sorted(records, key=lambda record: (question(record, varies), record["width"])):
        values = [record["metrics"].get(name, {}).get("pooled") for name in names]
        texts = [metric_text(name, value) for name, value in zip(names, values, strict=True)]
        rows.append([question(record, varies), f"×{record['width']:g}", f"{100 * record['accuracy']:.1f}", *texts])
    return rows


def question(record: dict[str, Any], varies: list[str]) -> str:
    """What a test record asks, in words."""
    attack = record["attack"]
    words = {
        "adv_lambda": f"λ {record['adv_lambda']:g}",
        "bn": f"bn {record['bn']}",
        "mix": f"{record['mix']} of base models",
        "checkpoint": record["checkpoint"],
        "sort_base_models": "sorted" if record["sort_base_models"] else "",
        "n_images": f"{record['n_images']} images",
    }
    eps = "" if attack.get("eps") is None else f"eps {attack['eps']:g}"
    return " ".join(filter(None, [attack["name"], eps, *(word for key, word in words.items() if key in varies)]))


def client_rows(run: Run) -> list[list[str]]:
    """Header and rows: clients by domain."""
    accuracies = run.client_accuracies()
    by_domain: dict[str, list[int]] = {}
    for number, client in enumerate(run.results["clients"]):
        by_domain.setdefault(client["domain"], []).append(number)
    rows = [["domain", "clients", "budgets", "train", "validation", "test", "test SA"]]
    for name, numbers in by_domain.items():
        clients = [run.results["clients"][number] for number in numbers]
        counts = sorted(Counter(client["budget"] for client in clients).items())
        budgets = ", ".join(f"{count} of {budget:g}" for budget, count in counts)
        sizes = [str(sum(client[key] for client in clients)) for key in ("n_train", "n_val", "n_test")]
        sa = f"{100 * mean(accuracies[number] for number in numbers):.1f}" if accuracies else UNKNOWN
        rows.append([name, str(len(clients)), budgets, *sizes, sa])
    return rows
