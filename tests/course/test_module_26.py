"""What module 26 says of its figures and of its scale section, at a small size; peers run, since there is no work/."""

import numpy as np

from autograder import curriculum

MODULE = curriculum.load("26_capstone")
# The demo cells whose results are looked at, and those that they need.
NEEDED = {
    "sealed, desk = everyone[": "",
    "= desk.export()": "",
    "again = audit(table,": "",
    "def with_history(": "",
    "chosen, _ = cheapest_threshold(": "",
    "trainers = {": "first_lines = [(line[0], line[1]) for line in lines]",
    "curves[name] = learning_curve(": "",
    "costs = {name: cost_curve(": "",
    "class Search:": "",
    "choice = decide(": "",
    "ladder, kept, vote": "",
    "final_threshold, _ = cheapest_threshold(": "",
    "took, said = {": "",
}
REPORT = """
import json
print(json.dumps({
    "findings": findings,
    "faults": FAULTS,
    "clean": [again, same],
    "apart": [float(sealed.time.min()), float(past.time.max()), len(np.intersect1d(sealed.customer, desk.customer))],
    "excess": {name: values.tolist() for name, values in excess.items()},
    "rules": {name: float(mean_cost(t, ~first)) for name, t in rules.items()},
    "losses": {line[0]: line[1] for line in first_lines},
    "least": float(least_loss),
    "floors": {name: [found["a"], *found["interval"], found["c"]] for name, found in curves.items()},
    "ahead": {name: [float(curve_at(name, goal)), judged[name][0]] for name in curves},
    "searches": share.tolist(),
    "decided": [choice, sum(trials), budget_cents, value, min(rows_then.values()), max(rows_then.values()), len(past)],
    "sealed": [float(losses_of(p_sealed, sealed.y).mean()), log_loss(sealed.y, sealed.probability())],
    "powers": {name: found["power"] for name, found in costs.items()},
    "board": [float(by_plain[-1]), float(final_error), len(kept)],
    "took": took,
}))
"""


def test_the_audit_finds_what_is_planted_and_nothing_else(found):
    assert dict(found["findings"]) == found["faults"]


def test_what_was_found_is_dropped(found):
    assert found["clean"] == [[], True]


def test_the_sealed_tickets_are_later_and_of_other_customers(found):
    first, last, shared = found["apart"]
    assert first >= last + 7 and shared == 0


def test_random_rows_promise_too_much(found):
    """They share customers with train, so the hidden trait helps there; the split promises what came."""
    random, split, came = (np.array(found["excess"][name]) for name in ("random rows", "your split", "what came"))
    error = (came - random).std(ddof=1) / len(came) ** 0.5
    assert (came - random).mean() > 2 * error
    assert abs((came - split).mean()) < 3 * (came - split).std(ddof=1) / len(came) ** 0.5


def test_a_chosen_threshold_costs_less_than_no_model(found):
    rules = found["rules"]
    assert max(rules["yours"], rules["1/4"]) < min(rules["always"], rules["never"])


def test_words_help_and_nobody_beats_the_law(found):
    losses = found["losses"]
    assert min(losses.values()) > found["least"] - 0.02
    assert min(losses[name] for name in losses if name != "base rate") < losses["base rate"]


def test_curves_keep_to_their_limits(found):
    for a, low, high, c in found["floors"].values():
        assert low <= a <= high and 0.1 <= c <= 2
    assert all(0.5 <= power <= 3 for power in found["powers"].values())


def test_a_curve_predicts_the_next_size(found):
    assert all(abs(ahead - came) < 0.05 for ahead, came in found["ahead"].values())


def test_halving_finds_the_best_more_often(found):
    halving, even = np.mean(found["searches"], axis=0)
    assert halving > even


def test_the_decision_keeps_to_its_budget_and_its_table(found):
    choice, spent, budget, value, fewest, most, past = found["decided"]
    assert spent <= budget and 0 < fewest <= most == past
    assert value[choice] < value["base rate"] and value[choice] - min(value.values()) < 0.05
    loss, least = found["sealed"]
    assert least - 0.02 < loss < least + 0.2


def test_a_plain_board_leaks_and_the_ladder_does_not(found):
    plain, ladder, kept = found["board"]
    assert plain < 0.42 < 0.43 < ladder and kept <= 6


def test_every_peer_is_measured_at_every_size(found):
    assert {len(seconds) for seconds in found["took"].values()} == {6}
