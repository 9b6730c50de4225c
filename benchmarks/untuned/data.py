"""scikit-learn's small sets as bandits: the right class pays 1."""

from __future__ import annotations

from pipeline.simulate.environments.classification import Classification


class Known(Classification):
    """One of them by its name; rows come again and again."""

    def __init__(self, name: str, decisions: int) -> None:
        """Take iris, wine, breast_cancer or digits."""
        from sklearn import datasets  # noqa: PLC0415  an optional library

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        super().__init__(X, y.tolist(), decisions)
