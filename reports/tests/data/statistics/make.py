#!/usr/bin/env python3
"""Writes signed-rank.json and t-test.json beside itself, with SciPy as the judge:

    python3 -m venv /tmp/scipy && /tmp/scipy/bin/pip install scipy
    /tmp/scipy/bin/python reports/tests/data/statistics/make.py

What the tests hold the statistics against. Seeded; the same files come out every time.
"""
import json
import pathlib
import warnings

import numpy
import scipy
from scipy import stats

HERE = pathlib.Path(__file__).resolve().parent
warnings.simplefilter("ignore")


def p_greater(values):
    """Exact also with ties: SciPy's permutation method enumerates all signs. Zeros are dropped (zero_method wilcox)."""
    values = values[values != 0]
    if len(values) == 0:
        return 1.0
    if len(set(abs(values))) == len(values):
        return float(stats.wilcoxon(values, alternative="greater", method="exact").pvalue)
    method = stats.PermutationMethod(n_resamples=2 ** len(values) + 1)
    return float(stats.wilcoxon(values, alternative="greater", method=method).pvalue)


def interval(values, confidence):
    """By inversion of SciPy's two-sided exact test: the outermost means of pairs that it does not reject. Just inside
    a mean, so that no difference is zero or tied."""
    means = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    step = min(b - a for a, b in zip(means, means[1:]) if b > a) / 4
    rejects = lambda shift: stats.wilcoxon(values - shift, method="exact").pvalue <= 1 - confidence
    low = next(mean for mean in means if not rejects(mean + step))
    high = next(mean for mean in reversed(means) if not rejects(mean - step))
    return float(numpy.median(means)), low, high


def signed_rank():
    random = numpy.random.default_rng(20261125)
    cases = []
    for count in [3, 6, 8, 12, 12, 12, 20, 20, 30, 30]:
        values = random.normal(random.choice([-0.5, 0.0, 0.3, 1.0]), 1.0, count)
        case = {"values": values.tolist(), "p": p_greater(values)}
        if count >= 6:
            case["estimate"], case["low"], case["high"] = interval(values, 0.95)
        cases.append(case)
    # Few distinct values: ties and zeros.
    for count in [6, 9, 12, 14]:
        values = random.integers(-2, 4, count).astype(float)
        cases.append({"values": values.tolist(), "p": p_greater(values)})
    # Hamilton depression scale factor IV before and after (Hollander and Wolfe, table 3.1).
    before = numpy.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = numpy.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    values = before - after
    case = {"values": values.tolist(), "p": p_greater(values)}
    case["estimate"], case["low"], case["high"] = interval(values, 0.95)
    cases.append(case)
    return cases


def t_tests():
    random = numpy.random.default_rng(7)
    cases = []
    for left, right, move in [(2, 2, 0.0), (3, 5, 1.0), (10, 10, 0.5), (12, 30, 2.0), (50, 50, 1.5), (40, 4, 0.1)]:
        a, b = random.normal(10, 1, left), random.normal(10 + move, 1, right)
        cases.append({"left": a.tolist(), "right": b.tolist(), "p": float(stats.ttest_ind(a, b).pvalue)})
    return cases


def write(name, cases):
    document = {"made_by": f"make.py with SciPy {scipy.__version__}", "cases": cases}
    (HERE / name).write_text(json.dumps(document, indent=1) + "\n")


write("signed-rank.json", signed_rank())
write("t-test.json", t_tests())
