"""Wrong and right answers that prove the hidden tests of module 25, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import math

import numpy as np
import scipy.optimize
from scipy.sparse import coo_matrix, csr_matrix, diags

from autograder.answers import equivalent, right, wrong

equivalent(
    "simulated_annealing",
    diff="~ simulated_annealing: float32 is returned",
    reason="an int8 array and a Python float come back: there is no float64 array to change",
)
equivalent(
    "parallel_tempering",
    diff="~ parallel_tempering: an empty array is refused (0 in x.shape)",
    reason="fields and betas are never empty, and the couplings have shape (n, n)",
)
equivalent(
    "apply_gate",
    diff="~ apply_gate: float32 is returned",
    reason="a complex array comes back: there is no float64 array to change",
)
equivalent(
    "apply_gate",
    diff="~ apply_gate: what is returned is rounded to float32",
    reason="a complex array comes back: there is no float64 array to change",
)
equivalent(
    "apply_gate",
    diff="~ apply_gate: integers of 8 bits are refused (str(x.dtype).endswith('int8'))",
    reason="states are complex, gates complex or float64",
)
equivalent(
    "grover",
    diff="~ grover: what is returned is rounded to float32",
    reason="a complex array comes back: there is no float64 array to change",
)
equivalent(
    "grover",
    diff="~ grover: n becomes min(x, 100)",
    reason="n is at most 20",
)
equivalent(
    "qaoa",
    diff="~ qaoa: float32 is returned",
    reason="a complex array and a Python float come back: there is no float64 array to change",
)
equivalent(
    "qaoa",
    diff="~ qaoa: numbers beyond 1e+06 in size are cut off",
    reason="angles are at most 100, vertices at most 20",
)
equivalent(
    "qaoa",
    diff="~ qaoa: n becomes min(x, 100)",
    reason="n is at most 20",
)
equivalent(
    "qaoa_first_layer",
    diff="~ qaoa_first_layer: numbers beyond 1e+06 in size are cut off",
    reason="the only array holds vertices, at most 30,000",
)
equivalent(
    "qaoa_first_layer",
    diff="~ qaoa_first_layer: numbers below 1e-6 in size count as 0",
    reason="the only array holds whole numbers",
)
equivalent(
    "cut_by_rounding",
    diff="~ cut_by_rounding: numbers beyond 1e+06 in size are cut off",
    reason="the only array holds vertices, at most 20,000",
)
equivalent(
    "cut_by_rounding",
    diff="~ cut_by_rounding: numbers below 1e-6 in size count as 0",
    reason="the only array holds whole numbers",
)
equivalent(
    "cut_by_rounding",
    diff="""
- joined = csr_matrix((np.ones(len(ends)), (ends, others)), shape=(n, n))
+ joined = csr_matrix((np.ones(len(ends), dtype=np.float32), (ends, others)), shape=(n, n))
""",
    reason="ones and small sums of them are exact in float32, and the products are taken in float64",
)

# -------------------------------------------------------------------------------------------------- qubo_to_ising

wrong(
    "qubo_to_ising",
    "takes x = (1 - s) / 2 on the way to spins",
    fails=["test_all_energies_agree"],
    edit={
        "return linear + pairs.sum(axis=0) + pairs.sum(axis=1), pairs": (
            "return -(linear + pairs.sum(axis=0) + pairs.sum(axis=1)), pairs"
        )
    },
)
wrong(
    "qubo_to_ising",
    "counts each pair twice, above and below the diagonal",
    fails=["test_all_energies_agree"],
    edit={"pairs.sum(axis=1), pairs, float": "pairs.sum(axis=1), pairs + pairs.T, float"},
)
wrong(
    "qubo_to_ising",
    "loses the offset",
    fails=["test_all_energies_agree"],
    edit={"float(linear.sum() + pairs.sum())": "0.0"},
)
wrong(
    "qubo_to_ising",
    "reads Q above the diagonal only",
    fails=["test_all_energies_agree"],
    edit={"np.triu(Q + Q.T, 1) / 4": "np.triu(Q, 1) / 4"},
)
wrong(
    "qubo_to_ising",
    "adds the pairs with larger numbers to the fields, and forgets those with smaller ones",
    fails=["test_all_energies_agree"],
    edit={"linear + pairs.sum(axis=0) + pairs.sum(axis=1)": "linear + pairs.sum(axis=1)"},
)
wrong(
    "qubo_to_ising",
    "computes in the dtype of Q, so that small integers overflow",
    fails=["test_matrices_of_every_kind"],
    edit={"    Q = np.array(Q, np.float64)\n": "    Q = np.array(Q)\n"},
)


@right("qubo_to_ising", "loops over pairs")
def ising_by_loops(Q):
    n = len(Q)
    h, J, offset = np.zeros(n), np.zeros((n, n)), 0.0
    for i in range(n):
        h[i] += float(Q[i, i]) / 2
        offset += float(Q[i, i]) / 2
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        c = (float(Q[i, j]) + float(Q[j, i])) / 4
        J[i, j] = c
        h[i] += c
        h[j] += c
        offset += c
    return h, J, offset


@right("qubo_to_ising", "the way back by both sums of a symmetric matrix", replaces="ising_to_qubo")
def qubo_by_sums(h, J, offset):
    n = len(h)
    Q = 4.0 * np.asarray(J, np.float64)
    h = np.asarray(h, np.float64)
    both = Q + Q.T
    Q[np.arange(n), np.arange(n)] = 2 * h - both.sum(axis=1) / 2
    return Q, float(offset + both.sum() / 8 - np.sum(h))


# ------------------------------------------------------------------------------------------------- selection_qubo

wrong(
    "selection_qubo",
    "gives a pair the penalty once instead of twice",
    fails=["test_every_selection_has_its_energy"],
    edit={"redundancy + 2.0 * penalty": "redundancy + penalty"},
)
wrong(
    "selection_qubo",
    "rewards redundancy instead of punishing it",
    fails=["test_every_selection_has_its_energy"],
    edit={"redundancy + 2.0 * penalty": "2.0 * penalty - redundancy"},
)


@right("selection_qubo", "the square as an outer product")
def selection_by_outer(relevance, redundancy, k, penalty):
    d = len(relevance)
    square = penalty * np.ones((d, d))
    whole = square + np.triu(redundancy, 1) / 2 + np.triu(redundancy, 1).T / 2
    whole[np.diag_indices(d)] -= relevance + 2 * penalty * k
    return np.triu(whole) + np.triu(whole.T, 1)


@right("selection_qubo", "entry by entry")
def selection_by_entries(relevance, redundancy, k, penalty):
    Q = np.zeros((len(relevance), len(relevance)))
    for i in range(len(relevance)):
        Q[i, i] = penalty - 2 * k * penalty - relevance[i]
        Q[i, i + 1 :] = redundancy[i, i + 1 :] + 2 * penalty
    return Q


# -------------------------------------------------------------------------------------------- simulated_annealing

wrong(
    "simulated_annealing",
    "has the sign of dE turned round",
    fails=["test_boltzmann_frequencies"],
    edit={"if -2 * s[i] * field[i] < room[i]": "if 2 * s[i] * field[i] < room[i]"},
)
wrong(
    "simulated_annealing",
    "leaves the 2 out of dE",
    fails=["test_boltzmann_frequencies"],
    edit={"if -2 * s[i] * field[i] < room[i]": "if -s[i] * field[i] < room[i]"},
)
wrong(
    "simulated_annealing",
    "computes the fields once a sweep, so that they are stale after a flip",
    fails=["test_boltzmann_frequencies"],
    edit={
        "                for place in range(first[i], first[i + 1]):\n": "",
        "                    field[index[place]] += twice[place] * s[i]\n": "",
        "    for T in temperatures.tolist():\n": (
            "    for T in temperatures.tolist():\n        field = (h + both @ np.array(s)).tolist()\n"
        ),
    },
)
wrong(
    "simulated_annealing",
    "updates the fields of neighbours with larger numbers only",
    fails=["test_boltzmann_frequencies"],
    edit={
        "both.indptr.tolist(), both.indices.tolist(), (2 * both.data).tolist()": (
            "J.indptr.tolist(), J.indices.tolist(), (2 * J.data).tolist()"
        )
    },
)
wrong(
    "simulated_annealing",
    "counts each coupling twice in the energy",
    fails=["test_energy_of_the_state"],
    edit={"float(h @ s + s @ (J @ s))": "float(h @ s + s @ (both @ s))"},
)
wrong(
    "simulated_annealing",
    "returns the best state on the way instead of the last one",
    fails=["test_order_of_temperatures"],
    edit={
        "    for T in temperatures.tolist():\n": (
            "    lowest, best = math.inf, list(s)\n    for T in temperatures.tolist():\n"
        ),
        "    s = np.array(s)\n    return": (
            "        now = float(h @ np.array(s) + np.array(s) @ (J @ np.array(s)))\n"
            "        if now < lowest:\n            lowest, best = now, list(s)\n"
            "    s = np.array(best)\n    return"
        ),
    },
)
wrong(
    "simulated_annealing",
    "starts from a state that does not depend on the seed",
    fails=["test_random_starts"],
    edit={"rng.choice([-1.0, 1.0], n)": "np.random.default_rng(0).choice([-1.0, 1.0], n)"},
)


@wrong("simulated_annealing", "makes a dense matrix of the couplings", fails=["test_twenty_thousand_spins"])
def annealing_dense(h, J, temperatures, seed):
    rng = np.random.default_rng(seed)
    both = (J + J.T).toarray()
    s = rng.choice([-1.0, 1.0], len(h))
    field = h + both @ s
    for T in temperatures:
        room = T * rng.exponential(size=len(h))
        for i in range(len(h)):
            if -2 * s[i] * field[i] < room[i]:
                s[i] = -s[i]
                field += 2 * s[i] * both[i]
    return s.astype(np.int8), float(h @ s + s @ both @ s / 2)


@right("simulated_annealing", "arrays, spins in random order, a division by T where there is one")
def annealing_by_arrays(h, J, temperatures, seed):
    rng = np.random.Generator(np.random.Philox(seed))
    A = csr_matrix(J + J.T)
    s = 2 * rng.integers(0, 2, len(h)) - 1
    f = h + A @ s
    for T in temperatures:
        draws = rng.random(len(h))
        for i in rng.permutation(len(h)).tolist():
            change = -2 * s[i] * f[i]
            if change <= 0 or (T > 0 and draws[i] < math.exp(max(-700.0, -change / T))):
                s[i] = -s[i]
                a, b = A.indptr[i], A.indptr[i + 1]
                f[A.indices[a:b]] += 2 * s[i] * A.data[a:b]
    return s.astype(np.int8), float(np.sum(h * s) + np.sum(s * (J @ s)))


@right("simulated_annealing", "colours: spins without couplings between them are visited together")
def annealing_by_colours(h, J, temperatures, seed):
    rng = np.random.default_rng([seed, 5])
    A = (J + J.T).tocsr()
    colour = np.full(len(h), -1)
    for i in range(len(h)):
        taken = set(colour[A.indices[A.indptr[i] : A.indptr[i + 1]]].tolist())
        colour[i] = next(c for c in range(len(h)) if c not in taken)
    classes = [np.flatnonzero(colour == c) for c in range(colour.max() + 1)]
    parts = [A[some] for some in classes]
    s = np.where(rng.random(len(h)) < 0.5, -1.0, 1.0)
    for T in temperatures:
        for some, rows in zip(classes, parts, strict=True):
            change = -2 * s[some] * (h[some] + rows @ s)
            s[some] *= np.where(change < T * rng.exponential(size=len(some)), -1, 1)
    return s.astype(np.int8), float(h @ s + s @ (J @ s))


# --------------------------------------------------------------------------------------------- parallel_tempering

wrong(
    "parallel_tempering",
    "exchanges the energies without the states",
    fails=["test_means_of_every_replica"],
    edit={"for of in (state, field, energy):": "for of in (energy,):"},
)
wrong(
    "parallel_tempering",
    "exchanges the states without their energies",
    fails=["test_means_of_every_replica"],
    edit={"for of in (state, field, energy):": "for of in (state, field):"},
)
wrong(
    "parallel_tempering",
    "has the sign of the exchange turned round",
    fails=["test_means_of_every_replica"],
    edit={
        "(betas[k + 1] - betas[k]) * (energy[k] - energy[k + 1])": (
            "(betas[k] - betas[k + 1]) * (energy[k] - energy[k + 1])"
        )
    },
)
wrong(
    "parallel_tempering",
    "counts exchanges and makes none",
    fails=["test_barriers_are_crossed"],
    edit={"of[k], of[k + 1] = of[k + 1], of[k]": "of[k], of[k + 1] = of[k], of[k + 1]"},
)
wrong(
    "parallel_tempering",
    "takes beta for a temperature",
    fails=["test_means_of_every_replica"],
    edit={"rng.exponential(size=n) / betas[k]": "rng.exponential(size=n) * betas[k]"},
)
wrong(
    "parallel_tempering",
    "returns the last state of the last replica instead of the best one",
    fails=["test_best_state_is_kept"],
    edit={"    s = np.array(best)\n": "    s = np.array(state[-1])\n"},
)
wrong(
    "parallel_tempering",
    "averages over all rounds, the first half included",
    fails=["test_means_over_the_second_half"],
    edit={"if t >= sweeps // 2:": "if t >= 0:", "total / (sweeps - sweeps // 2)": "total / sweeps"},
)
wrong(
    "parallel_tempering",
    "tries the pairs (0, 1), (2, 3), ... in every round",
    fails=["test_pairs_take_turns"],
    edit={"for k in range(t % 2, R - 1, 2):": "for k in range(0, R - 1, 2):"},
)


@right("parallel_tempering", "all replicas at once as arrays, betas are exchanged")
def tempering_by_betas(h, J, betas, sweeps, seed):
    rng = np.random.default_rng(seed)
    n, R = len(h), len(betas)
    A = (J + J.T).tocsr()
    S = 2.0 * rng.integers(0, 2, (n, R)) - 1
    F = h[:, None] + A @ S
    at = np.arange(R)  # which column has which beta
    low, best = np.inf, None
    tries, taken, sums = np.zeros(R - 1), np.zeros(R - 1), np.zeros(R)
    for t in range(sweeps):
        beta = np.empty(R)
        beta[at] = betas
        for i in range(n):
            flips = -2 * S[i] * F[i] * beta < rng.exponential(size=R)
            if flips.any():
                S[i, flips] *= -1
                a, b = A.indptr[i], A.indptr[i + 1]
                F[A.indices[a:b]] += 2 * A.data[a:b, None] * (S[i] * flips)
        E = h @ S + np.sum(S * (J @ S), axis=0)
        if E.min() < low:
            low, best = E.min(), S[:, E.argmin()].copy()
        for k in range(R - 1):
            if k % 2 == t % 2:
                tries[k] += 1
                gain = (betas[k] - betas[k + 1]) * (E[at[k]] - E[at[k + 1]])
                if rng.random() < np.exp(min(0.0, gain)):
                    taken[k] += 1
                    at[[k, k + 1]] = at[[k + 1, k]]
        if t >= sweeps // 2:
            sums += E[at]
    rates = np.divide(taken, tries, out=np.zeros(R - 1), where=tries > 0)
    return best.astype(np.int8), float(h @ best + best @ (J @ best)), rates, sums / (sweeps - sweeps // 2)


@right("parallel_tempering", "lists of neighbours, the best state looked for within sweeps, too")
def tempering_by_lists(h, J, betas, sweeps, seed):
    rng = np.random.default_rng([seed, 1])
    near = [[] for _ in h]
    pairs = J.tocoo()
    for i, j, w in zip(pairs.row.tolist(), pairs.col.tolist(), pairs.data.tolist(), strict=True):
        near[i].append((j, w))
        near[j].append((i, w))
    replicas = []
    for _ in betas:
        s = (2 * rng.integers(0, 2, len(h)) - 1).tolist()
        f = [h_i + sum(w * s[j] for j, w in near[i]) for i, h_i in enumerate(h.tolist())]
        replicas.append([s, f, float(sum((h[i] + f[i]) * s[i] for i in range(len(s))) / 2)])
    best, low = None, math.inf
    counts = [[0, 0] for _ in betas[1:]]
    kept = [[] for _ in betas]
    for t in range(sweeps):
        for beta, replica in zip(betas.tolist(), replicas, strict=True):
            s, f, e = replica
            draws = rng.random(len(s)).tolist()
            for i in range(len(s)):
                change = -2 * s[i] * f[i]
                if change <= 0 or draws[i] < math.exp(-min(700.0, beta * change)):
                    s[i] = -s[i]
                    e += change
                    for j, w in near[i]:
                        f[j] += 2 * w * s[i]
            replica[2] = e
            if e < low:
                low, best = e, np.array(s, np.int8)
        for k in range(t % 2, len(betas) - 1, 2):
            gain = (betas[k] - betas[k + 1]) * (replicas[k][2] - replicas[k + 1][2])
            counts[k][0] += 1
            if gain >= 0 or rng.random() < math.exp(max(gain, -700.0)):
                counts[k][1] += 1
                replicas[k], replicas[k + 1] = replicas[k + 1], replicas[k]
        for k, replica in enumerate(replicas):
            kept[k].append(replica[2])
    rates = np.array([yes / tries if tries else 0.0 for tries, yes in counts])
    means = np.array([np.mean(values[sweeps // 2 :]) for values in kept])
    return best, float(h @ best + best @ (J @ best.astype(float))), rates, means


# ----------------------------------------------------------------------------------------------------- apply_gate

wrong(
    "apply_gate",
    "counts qubits from the other end",
    fails=["test_one_qubit_gates"],
    edit={"axes = [n - 1 - q for q in reversed(qubits)]": "axes = [q for q in reversed(qubits)]"},
)
wrong(
    "apply_gate",
    "takes qubits[0] for the higher bit of the gate's number",
    fails=["test_two_qubit_gates"],
    edit={"for q in reversed(qubits)]": "for q in qubits]"},
)
wrong(
    "apply_gate",
    "applies the transpose of the gate",
    fails=["test_one_qubit_gates"],
    edit={"np.asarray(gate).astype": "np.asarray(gate).T.astype"},
)
wrong(
    "apply_gate",
    "sorts the qubits, so that their order is lost",
    fails=["test_two_qubit_gates"],
    edit={
        "    n = len(state).bit_length() - 1\n": "    n = len(state).bit_length() - 1\n    qubits = sorted(qubits)\n"
    },
)
wrong(
    "apply_gate",
    "makes complex128 of every state",
    fails=["test_states_and_gates_of_every_kind"],
    edit={"np.asarray(gate).astype(state.dtype)": "np.asarray(gate).astype(complex)"},
)


@wrong("apply_gate", "multiplies by the matrix of shape (2^n, 2^n)", fails=["test_a_gate_on_twenty_two_qubits"])
def gate_as_matrix(state, gate, qubits):
    z = np.arange(len(state))
    mine = sum(((z >> q) & 1) << k for k, q in enumerate(qubits))
    rest = z & ~sum(1 << q for q in qubits)
    big = np.where(rest[:, None] == rest, gate[mine[:, None], mine], 0)
    return (big @ state).astype(state.dtype)


@right("apply_gate", "reshapes into halves")
def gate_by_halves(state, gate, qubits):
    gate = np.asarray(gate)
    new = np.empty(len(state), state.dtype)
    if len(qubits) == 1:
        old, parts = state.reshape(-1, 2, 2 ** qubits[0]), new.reshape(-1, 2, 2 ** qubits[0])
        for r in range(2):
            parts[:, r] = gate[r, 0] * old[:, 0] + gate[r, 1] * old[:, 1]
        return new
    low, high = sorted(qubits)
    shape = (-1, 2, 2 ** (high - low - 1), 2, 2**low)
    old, parts = state.reshape(shape), new.reshape(shape)

    def place(number):
        first, second = number & 1, number >> 1
        at_low, at_high = (first, second) if qubits[0] == low else (second, first)
        return (slice(None), at_high, slice(None), at_low)

    for r in range(4):
        parts[place(r)] = sum(gate[r, c] * old[place(c)] for c in range(4))
    return new


@right("apply_gate", "numbers of amplitudes by bits")
def gate_by_numbers(state, gate, qubits):
    k = len(qubits)
    base = np.arange(len(state) >> k, dtype=np.int64)
    for q in sorted(qubits):
        base = ((base >> q) << (q + 1)) | (base & ((1 << q) - 1))
    shifts = [sum(((c >> j) & 1) << q for j, q in enumerate(qubits)) for c in range(2**k)]
    new = np.empty_like(state, shape=len(state))
    for r in range(2**k):
        total = gate[r, 0] * state[base | shifts[0]]
        for c in range(1, 2**k):
            total += gate[r, c] * state[base | shifts[c]]
        new[base | shifts[r]] = total
    return new


# --------------------------------------------------------------------------------------------------------- grover

wrong(
    "grover",
    "has the sign of the second reflection turned round",
    fails=["test_amplitudes_turn"],
    edit={"2 * state.mean() - state": "state - 2 * state.mean()"},
)
wrong(
    "grover",
    "takes the mean before the flip",
    fails=["test_amplitudes_turn"],
    edit={
        "        state = flip(state)\n        state = 2 * state.mean() - state\n": (
            "        mean = state.mean()\n        state = 2 * mean - flip(state)\n"
        )
    },
)
wrong(
    "grover",
    "stops at the best number of iterations, where more would be worse",
    fails=["test_too_many_iterations"],
    edit={"range(iterations)": "range(min(iterations, max(6, round(math.pi / 4 * 2 ** (n / 2)))))"},
)
wrong(
    "grover",
    "asks flip twice an iteration",
    fails=["test_the_device_is_asked_once_an_iteration"],
    edit={"        state = flip(state)\n": "        flip(state)\n        state = flip(state)\n"},
)
wrong(
    "grover",
    "works with real numbers",
    fails=["test_the_device_is_asked_once_an_iteration"],
    edit={"np.full(2**n, 2 ** (-n / 2), complex)": "np.full(2**n, 2 ** (-n / 2))"},
)


@right("grover", "the reflection as a projection")
def grover_by_projection(n, flip, iterations):
    equal = np.ones(2**n, dtype=np.complex128) / np.sqrt(2.0**n)
    state = equal.copy()
    for _ in range(iterations):
        state = flip(state)
        state = 2 * equal * np.vdot(equal, state) - state
    return state


@right("grover", "a while loop, sums instead of means")
def grover_by_sums(n, flip, iterations):
    state, done = np.array([2 ** (-n / 2)] * 2**n, np.complex128), 0
    while done < iterations:
        turned = np.array(flip(state))
        state = turned.sum() / 2 ** (n - 1) - turned
        done += 1
    return state


# ----------------------------------------------------------------------------------------------------------- qaoa

wrong(
    "qaoa",
    "halves the angle of the mixer",
    fails=["test_layers_one_by_one"],
    edit={
        "math.cos(beta) * pairs - 1j * math.sin(beta) * pairs[:, ::-1]": (
            "math.cos(beta / 2) * pairs - 1j * math.sin(beta / 2) * pairs[:, ::-1]"
        )
    },
)
wrong(
    "qaoa",
    "returns the best cut that a measurement can give instead of the expected one",
    fails=["test_expected_cut"],
    edit={"float(np.abs(state) ** 2 @ cuts)": "float(np.max(cuts[np.abs(state) ** 2 > 1e-12]))"},
)
wrong(
    "qaoa",
    "has the sign of the phase turned round",
    fails=["test_layers_one_by_one"],
    edit={"np.cos(turn) - 1j * np.sin(turn)": "np.cos(turn) + 1j * np.sin(turn)"},
)
wrong(
    "qaoa",
    "applies the mixer before the phase",
    fails=["test_layers_one_by_one"],
    edit={
        "        state = state * (np.cos(turn) - 1j * np.sin(turn))\n": "",
        "state = (math.cos(beta) * pairs - 1j * math.sin(beta) * pairs[:, ::-1]).ravel()\n": (
            "state = (math.cos(beta) * pairs - 1j * math.sin(beta) * pairs[:, ::-1]).ravel()\n"
            "        state = state * (np.cos(turn) - 1j * np.sin(turn))\n"
        ),
    },
)
wrong(
    "qaoa",
    "gives vertex q the bit that is q places from the highest one",
    fails=["test_layers_one_by_one"],
    edit={"(z >> u ^ z >> v) & 1": "(z >> (n - 1 - u) ^ z >> (n - 1 - v)) & 1"},
)
wrong(
    "qaoa",
    "makes an array of edges times 2^n",
    fails=["test_eighteen_qubits"],
    edit={
        "    for u, v in edges.tolist():\n        cuts += (z >> u ^ z >> v) & 1\n": (
            "    cuts = ((z[:, None] >> edges[:, 0] ^ z[:, None] >> edges[:, 1]) & 1).sum(axis=1).astype(float)\n"
        )
    },
)


@right("qaoa", "powers of a phase, the state as a tensor")
def qaoa_by_tensor(edges, n, gammas, betas):
    axes = [np.arange(2).reshape([2 if a == n - 1 - q else 1 for a in range(n)]) for q in range(n)]
    cuts = np.zeros([2] * n, np.int64)
    for u, v in edges:
        cuts = cuts + (axes[u] != axes[v])
    state = np.ones([2] * n, complex) / math.sqrt(2**n)
    for gamma, beta in zip(gammas, betas, strict=True):
        state = state * np.exp(-1j * gamma * np.arange(len(edges) + 1))[cuts]
        for a in range(n):
            state = math.cos(beta) * state - 1j * math.sin(beta) * np.flip(state, a)
    return state.reshape(-1), float(np.sum((state.real**2 + state.imag**2) * cuts))


@right("qaoa", "phases edge by edge, gates by matrices")
def qaoa_by_gates(edges, n, gammas, betas):
    z = np.arange(2**n)
    state = np.full(2**n, 1 / np.sqrt(2.0**n), dtype=np.complex128)
    for layer in range(len(gammas)):
        for u, v in edges:
            state[((z >> u) & 1) != ((z >> v) & 1)] *= np.exp(-1j * gammas[layer])
        c, s = np.cos(betas[layer]), -1j * np.sin(betas[layer])
        for q in range(n):
            state = np.einsum("rc,acb->arb", np.array([[c, s], [s, c]]), state.reshape(-1, 2, 2**q)).reshape(-1)
    weights = np.abs(state) ** 2
    cut = 0.0
    for u, v in edges:
        cut += float(weights[((z >> u) & 1) != ((z >> v) & 1)].sum())
    return state, cut


# ----------------------------------------------------------------------------------------------- qaoa_first_layer

wrong(
    "qaoa_first_layer",
    "forgets the triangles",
    fails=["test_one_layer_by_its_state"],
    edit={".sum(axis=1)).ravel().astype(int)": ".sum(axis=1)).ravel().astype(int) * 0"},
)
wrong(
    "qaoa_first_layer",
    "counts v among the neighbours of u",
    fails=["test_one_layer_by_its_state"],
    edit={"np.bincount(ends, minlength=n) - 1": "np.bincount(ends, minlength=n)"},
)
wrong(
    "qaoa_first_layer",
    "leaves the exponents of triangles at d_u + d_v",
    fails=["test_one_layer_by_its_state"],
    edit={"(others[u] + others[v] - 2 * triangles)": "(others[u] + others[v])"},
)
wrong(
    "qaoa_first_layer",
    "halves the angle of the mixer",
    fails=["test_one_layer_by_its_state"],
    edit={"math.sin(4 * beta)": "math.sin(2 * beta)", "math.sin(2 * beta) ** 2": "math.sin(beta) ** 2"},
)
wrong(
    "qaoa_first_layer",
    "makes a dense matrix of all pairs of vertices",
    fails=["test_thirty_thousand_vertices"],
    edit={"shape=(n, n))": "shape=(n, n)).toarray()", "joined[u].multiply(joined[v])": "(joined[u] * joined[v])"},
)


@right("qaoa_first_layer", "sets of neighbours")
def layer_by_sets(edges, n, gamma, beta):
    near = {}
    for u, v in edges.tolist():
        near.setdefault(u, set()).add(v)
        near.setdefault(v, set()).add(u)
    c, c2 = math.cos(gamma), math.cos(2 * gamma)
    first, second = math.sin(4 * beta) * math.sin(gamma) / 4, math.sin(2 * beta) ** 2 / 4
    total = []
    for u, v in edges.tolist():
        d, e, t = len(near[u]) - 1, len(near[v]) - 1, len(near[u] & near[v])
        total.append(0.5 + first * (c**d + c**e) - second * c ** (d + e - 2 * t) * (1 - c2**t))
    return math.fsum(total)


@right("qaoa_first_layer", "a product of sparse matrices")
def layer_by_product(edges, n, gamma, beta):
    if len(edges) == 0:
        return 0.0
    A = coo_matrix((np.ones(len(edges), np.int32), (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
    A = A + A.T
    degree = np.asarray(A.sum(axis=0)).ravel()
    common = (A @ A).tocsr()
    t = np.asarray(common[edges[:, 0], edges[:, 1]]).ravel()
    d, e = degree[edges[:, 0]] - 1, degree[edges[:, 1]] - 1
    c = np.cos(gamma)
    value = 0.5 + 0.25 * np.sin(4 * beta) * np.sin(gamma) * (np.power(c, d) + np.power(c, e))
    value -= 0.25 * np.sin(2 * beta) ** 2 * np.power(c, d + e - 2 * t) * (1 - np.power(np.cos(2 * gamma), t))
    return float(value.sum())


# ------------------------------------------------------------------------------------------------ cut_by_rounding

wrong(
    "cut_by_rounding",
    "returns the relaxed sum as the cut",
    fails=["test_cut_belongs_to_side"],
    edit={"int(cuts[best]), relaxed": "round(relaxed), relaxed"},
)
wrong(
    "cut_by_rounding",
    "returns the cut as the relaxed sum",
    fails=["test_relaxed_sum_reaches_its_maximum"],
    edit={"int(cuts[best]), relaxed": "int(cuts[best]), float(cuts[best])"},
)
wrong(
    "cut_by_rounding",
    "counts each edge twice in the relaxed sum",
    fails=["test_relaxed_sum_reaches_its_maximum"],
    edit={"L.dot(V))) / 4": "L.dot(V))) / 2"},
)
wrong(
    "cut_by_rounding",
    "does not climb: its vectors stay at random",
    fails=["test_relaxed_sum_reaches_its_maximum"],
    edit={"        V[moves] = climb[moves] / length[moves, None]\n": ""},
)
wrong(
    "cut_by_rounding",
    "divides rows of zeros by their norm",
    fails=["test_vertices_without_edges"],
    edit={"V[moves] = climb[moves] / length[moves, None]": "V = climb / length[:, None]"},
)
wrong(
    "cut_by_rounding",
    "draws one hyperplane",
    fails=["test_best_of_twenty_hyperplanes"],
    edit={"(rank, 20)": "(rank, 1)"},
)
wrong(
    "cut_by_rounding",
    "makes a dense Laplacian",
    fails=["test_thirty_thousand_edges"],
    edit={"shape=(n, n))": "shape=(n, n)).toarray()"},
)
wrong(
    "cut_by_rounding",
    "separates by the sign of a single coordinate that it does not draw",
    fails=["test_rounding_depends_on_its_seed_alone"],
    edit={
        "    rng = np.random.default_rng(seed)\n": "    rng = np.random.default_rng(0)\n",
    },
)


@right("cut_by_rounding", "spins of a colour class pull together, one class after the other")
def rounding_by_classes(edges, n, rank, seed):
    rng = np.random.default_rng([seed, 3])
    A = csr_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    A = (A + A.T).tocsr()
    colour = np.full(n, -1)
    for i in range(n):
        taken = set(colour[A.indices[A.indptr[i] : A.indptr[i + 1]]].tolist())
        colour[i] = next(c for c in range(n) if c not in taken)
    classes = [np.flatnonzero(colour == c) for c in range(colour.max() + 1)]
    rows = [A[some] for some in classes]
    V = rng.normal(size=(n, rank))
    V = V / np.sqrt(np.sum(V**2, axis=1))[:, None]
    value, last = 0.0, -1.0
    for _ in range(300):
        for some, part in zip(classes, rows, strict=True):
            pull = -(part @ V)
            size = np.sqrt(np.sum(pull**2, axis=1))
            V[some[size > 0]] = pull[size > 0] / size[size > 0, None]
        value = float(np.sum(1 - np.sum(V[edges[:, 0]] * V[edges[:, 1]], axis=1)) / 2)
        if value - last < 1e-5 * value:
            break
        last = value
    best_side, best_cut = None, -1
    for _ in range(20):
        side = (V @ rng.normal(size=rank) >= 0).astype(np.int8)
        cut = int(np.count_nonzero(side[edges[:, 0]] ^ side[edges[:, 1]]))
        if cut > best_cut:
            best_side, best_cut = side, cut
    return best_side, best_cut, value


@right("cut_by_rounding", "a Laplacian of SciPy, L-BFGS for small graphs")
def rounding_by_descent(edges, n, rank, seed):
    rng = np.random.default_rng(seed)
    u, v = edges.T
    A = coo_matrix((np.ones(2 * len(edges)), (np.append(u, v), np.append(v, u))), shape=(n, n)).tocsr()
    L = diags(np.asarray(A.sum(axis=1)).ravel()) - A
    W = rng.standard_normal((n, rank))

    def unit(W):
        return W / np.linalg.norm(W, axis=1, keepdims=True)

    if n <= 60:

        def loss(w):
            W = w.reshape(n, rank)
            size = np.linalg.norm(W, axis=1, keepdims=True)
            U = W / size
            G = -(L @ U) / 2
            G = (G - U * np.sum(G * U, axis=1, keepdims=True)) / size
            return -np.sum(U * (L @ U)) / 4, G.ravel()

        V = unit(
            scipy.optimize.minimize(loss, W.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 150}).x.reshape(
                n, rank
            )
        )
    else:
        V, alone = unit(W), np.asarray(A.sum(axis=1)) == 0
        for _ in range(200):
            V = unit(np.where(alone, V, L @ V))
    relaxed = float(np.sum(V * (L @ V)) / 4)
    sides = [np.where(V @ rng.standard_normal(rank) > 0, 1, 0).astype(np.int8) for _ in range(20)]
    cuts = [int(np.sum(side[u] != side[v])) for side in sides]
    return sides[int(np.argmax(cuts))], max(cuts), relaxed
