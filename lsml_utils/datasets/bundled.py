"""Real data that needs no network: scikit-learn's bundled tables, and the English text of Python's own help."""

from lsml_utils.datasets.kinds import Digits, Tabular, Text


def diabetes() -> Tabular:
    """Progression of diabetes after one year: X (442, 10) float64, y (442,) float64 in 25..346. A regression.

    The ten measurements as scikit-learn stores them: each column centred, with sum of squares 1.
    Source: Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, 2004.

    >>> diabetes().X.shape
    (442, 10)
    """
    return _table("diabetes")


def breast_cancer() -> Tabular:
    """Benign or malignant tumours: X (569, 30) float64, y (569,) int, 0 malignant and 1 benign. Two classes.

    Source: Wolberg, Street and Mangasarian, Breast Cancer Wisconsin (Diagnostic), UCI, 1995.

    >>> breast_cancer().target_names
    ('malignant', 'benign')
    """
    return _table("breast_cancer")


def wine() -> Tabular:
    """Chemistry of wines from three growers: X (178, 13) float64 on very different scales, y (178,) int in 0..2.

    Source: Aeberhard and Forina, Wine, UCI, 1991.

    >>> wine().y.max()
    np.int64(2)
    """
    return _table("wine")


def digits() -> Digits:
    """Handwritten digits of 8 × 8 pixels: X (1797, 64) float64 in 0..16, y (1797,) int in 0..9, images (1797, 8, 8).

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (its test part), UCI, 1998.

    >>> digits().images.shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    return Digits(X=found.data, y=found.target)


def python_help() -> Text:
    """The English text of Python's own `help()` topics, read from this interpreter (about 700,000 characters).

    It differs from one version of Python to the next: fit for training a language model, not for an expected number.

    >>> "lambda" in python_help().text
    True
    """
    import platform
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name].strip() for name in sorted(topics))
    return Text(text=text, topics=dict(sorted(topics.items())), source=f"help() of Python {platform.python_version()}")


def _table(name: str) -> Tabular:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    targets = tuple(str(target) for target in getattr(found, "target_names", ()))
    return Tabular(
        X=found.data, y=found.target, feature_names=tuple(map(str, found.feature_names)), target_names=targets
    )
