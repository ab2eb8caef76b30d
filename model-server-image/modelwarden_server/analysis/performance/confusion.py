"""Who was predicted what and is what: the counts that most rates of a classifier come from. Pure."""

from dataclasses import dataclass

from modelwarden_server.analysis.partials import Integers


@dataclass(frozen=True)
class BinaryConfusion:
    """The four counts of one class against the rest."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def labelled(self) -> int:
        """Rows that have a prediction and a label."""
        return self.tp + self.fp + self.tn + self.fn


@dataclass(frozen=True, eq=False)
class Confusion:
    """Rows that have a prediction and a label, `counts[predicted, true]`, int64 (K, K), in the order of
    `classes`. Of two classes the first is the positive one.
    """

    classes: tuple[str, ...]
    counts: Integers

    @property
    def labelled(self) -> int:
        """Rows that have a prediction and a label."""
        return int(self.counts.sum())

    def of(self, class_: str) -> BinaryConfusion:
        """One class against the rest. Raises ValueError for an unknown one."""
        place = self.classes.index(class_)
        tp = int(self.counts[place, place])
        fp = int(self.counts[place].sum()) - tp
        fn = int(self.counts[:, place].sum()) - tp
        return BinaryConfusion(tp, fp, self.labelled - tp - fp - fn, fn)
