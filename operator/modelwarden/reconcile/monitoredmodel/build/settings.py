"""The settings' ConfigMap: of a stable name, read again by the running cell when it changes."""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import LABEL_CONFIG, settings_config
from modelwarden.reconcile.ports import Manifest


def build_settings(plan: Blueprint) -> Manifest:
    """What may change while the cell runs."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned(plan, settings_config(plan.name), labels={LABEL_CONFIG: "settings"}),
        "data": {"settings.json": plan.settings.decode()},
    }
