"""One run in a few tables: facts, accuracy by width, every test, clients by domain."""

from __future__ import annotations

from collections import Counter
from statistics import mean
from typing import Any

from splitmix.reporting.kinds.clients import own_accuracies
from splitmix.reporting.progress import clock
from splitmix.reporting.runs import Run
from splitmix.reporting.tables import UNKNOWN, percent, quantity

TEST_KEYS = ("attack", "adv_lambda", "bn", "checkpoint", "sort_base_models", "n_images")


def facts(run: Run) -> dict[str, str]:
    """What the run is and how far it got."""
    results = run.results
    done = max((int(row["round"]) + 1 for row in run.metrics), default=0) if has_metrics(run) else 0
    best = results.get("best_round")
    return {
        "status": f"{results['status']}, {done} of {results.get('rounds', UNKNOWN)} rounds",
        "algorithm": run.label,
        "data, model": f"{results['dataset']}, {results['model']}",
        "seed": str(run.seed),
        "best round": UNKNOWN
        if best is None
        else f"{best + 1}, counted from 1 (highest validation accuracy; {best} in metrics.csv)",
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
    best = run.results.get("best_round")
    rows: dict[float, list[str]] = {}
    fixed = any("sa_fixed" in record for record in run.widths.values())
    robust = has_metrics(run) and any(run.curve(f"val_ra/{width}") for width in run.widths)
    for width, record in sorted(run.widths.items()):
        validated = []
        for metric in ("val_sa", "val_ra") if robust else ("val_sa",):
            curve = run.curve(f"{metric}/{width}") if has_metrics(run) else {}
            validated.append(percent(None if best is None else curve.get(best + 1)))
        costs = (quantity(record["macs"]), quantity(record["params"]))
        tested = (percent(record["sa"]), *([percent(record.get("sa_fixed"))] if fixed else []))
        rows[width] = [f"×{width:g}", *validated, *tested, *costs]
    names = ["width", "validation SA", *(["validation RA"] if robust else []), "test SA", *(["fixed"] if fixed else [])]
    return [[*names, "MACs/image", "parameters"], *rows.values()]


def test_rows(run: Run) -> list[list[str]]:
    """Header and rows: one row per width, one column per question asked; what all questions share is not repeated."""
    asked: dict[str, dict[float, float]] = {}
    records = run.records
    varies = [key for key in TEST_KEYS if len({repr(record[key]) for record in records}) > 1]
    for record in records:
        asked.setdefault(question(record, varies), {})[record["width"]] = record["accuracy"]
    widths = sorted({width for by_width in asked.values() for width in by_width})
    if not asked:
        return []
    # Questions go down and widths across: there are more of the former, and their names are longer.
    header = ["test", *(f"×{width:g}" for width in widths)]
    return [header] + [
        [name, *(f"{100 * by_width[width]:.1f}" if width in by_width else UNKNOWN for width in widths)]
        for name, by_width in asked.items()
    ]


def question(record: dict[str, Any], varies: list[str]) -> str:
    """What a test record asks, in words."""
    attack = record["attack"]
    words = [attack["name"]]
    if attack.get("eps") is not None:
        words.append(f"eps {attack['eps']:g}")
    if "adv_lambda" in varies:
        words.append(f"λ {record['adv_lambda']:g}")
    if "bn" in varies:
        words.append(f"bn {record['bn']}")
    if "checkpoint" in varies:
        words.append(record["checkpoint"])
    if "sort_base_models" in varies and record["sort_base_models"]:
        words.append("sorted")
    if "n_images" in varies:
        words.append(f"{record['n_images']} images")
    return " ".join(words)


def client_rows(run: Run) -> list[list[str]]:
    """Header and rows: clients by domain."""
    accuracies = own_accuracies(run)
    by_domain: dict[str, list[int]] = {}
    for number, client in enumerate(run.results["clients"]):
        by_domain.setdefault(client["domain"], []).append(number)
    rows = [["domain", "clients", "budgets", "train", "validation", "test", "test SA"]]
    for name, numbers in by_domain.items():
        clients = [run.results["clients"][number] for number in numbers]
        budgets = Counter(client["budget"] for client in clients)
        told = ", ".join(f"{count} of {budget:g}" for budget, count in sorted(budgets.items()))
        sizes = [str(sum(client[key] for client in clients)) for key in ("n_train", "n_val", "n_test")]
        own = UNKNOWN if accuracies is None else f"{100 * mean(accuracies[number] for number in numbers):.1f}"
        rows.append([name, str(len(clients)), told, *sizes, own])
    return rows
