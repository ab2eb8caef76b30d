"""Which other objects must look again when one of ours changes: a model's datasets and enrichments, and back;
and the other enrichments of the model.

Kept from events alone; a wrong entry costs one idle reconcile, never a decision. No I/O.
"""

import json
from dataclasses import dataclass, field

from modelwarden.reconcile.ports import DATASET, ENRICHMENT, MODEL, Key, Kind, Manifest

Who = tuple[Kind, Key]


def model_of(live: Manifest) -> str:
    """The name in `spec.modelRef`, or nothing."""
    return str(((live.get("spec") or {}).get("modelRef") or {}).get("name", ""))


def face_of(live: Manifest) -> object:
    """What others see of an object: its generation, whether it is going, its conditions' statuses, and what a
    model says of what is trained for it.
    """
    meta, status = live["metadata"], live.get("status") or {}
    states = tuple((condition["type"], condition["status"]) for condition in status.get("conditions") or ())
    trained = json.dumps(status.get("enrichments") or (), sort_keys=True)
    return (meta["uid"], meta.get("generation"), meta.get("deletionTimestamp"), states, trained)


@dataclass
class Neighbours:
    """Both directions of `modelRef`, and each object's face when last seen."""

    _referring: dict[Key, set[Who]] = field(default_factory=dict)
    _model: dict[Who, Key] = field(default_factory=dict)
    _faces: dict[Who, object] = field(default_factory=dict)

    def saw(self, kind: Kind, live: Manifest) -> tuple[Who, ...]:
        """Take note of an object; whom its change concerns (nobody, if its face is as it was)."""
        who = self._who(kind, live)
        before = self._model.get(who)
        if kind in (DATASET, ENRICHMENT):
            self._relate(who, live)
        face = face_of(live)
        if self._faces.get(who) == face:
            return ()
        self._faces[who] = face
        return self._concerned(who, before)

    def lost(self, kind: Kind, live: Manifest) -> tuple[Who, ...]:
        """Forget an object; whom that concerns."""
        who = self._who(kind, live)
        concerned = self._concerned(who, self._model.get(who))
        self._faces.pop(who, None)
        self._unrelate(who)
        return concerned

    def _concerned(self, who: Who, before: Key | None) -> tuple[Who, ...]:
        if who[0] == MODEL:
            return tuple(sorted(self._referring.get(who[1], ()), key=lambda other: (other[0].kind, other[1])))
        models = {model for model in (before, self._model.get(who)) if model is not None}
        concerned: list[Who] = [(MODEL, model) for model in sorted(models)]
        if who[0] == ENRICHMENT:
            # Of one type the oldest counts: one that comes or goes may let another in.
            others = {other for model in models for other in self._referring.get(model, ())} - {who}
            concerned += sorted((o for o in others if o[0] == ENRICHMENT), key=lambda other: other[1])
        return tuple(concerned)

    def _relate(self, who: Who, live: Manifest) -> None:
        self._unrelate(who)
        if name := model_of(live):
            model = Key(who[1].namespace, name)
            self._model[who] = model
            self._referring.setdefault(model, set()).add(who)

    def _unrelate(self, who: Who) -> None:
        model = self._model.pop(who, None)
        if model is None:
            return
        self._referring[model].discard(who)
        if not self._referring[model]:
            del self._referring[model]

    @staticmethod
    def _who(kind: Kind, live: Manifest) -> Who:
        return kind, Key(live["metadata"]["namespace"], live["metadata"]["name"])
