"""Which reconcile belongs to which kind."""

from collections.abc import Mapping

from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.daemons import Reconciler
from modelwarden.reconcile.enrichment.reconcile import ReconcileEnrichment
from modelwarden.reconcile.monitoredmodel.reconcile import ReconcileModel
from modelwarden.reconcile.ports import DATASET, ENRICHMENT, MODEL, Kind
from modelwarden.reconcile.referencedataset.reconcile import ReconcileDataset


def reconcilers_of(given: Collaborators) -> Mapping[Kind, Reconciler]:
    """A reconcile for each of our kinds."""
    return {
        MODEL: ReconcileModel(given),
        DATASET: ReconcileDataset(given),
        ENRICHMENT: ReconcileEnrichment(given),
    }
