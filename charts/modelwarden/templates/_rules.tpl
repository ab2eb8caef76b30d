{{/*
What the operator does in the namespaces that it watches. No verb without a call: tests/api/operator compares
this list with what the API server's audit log says the operator really did.
*/}}
{{- define "modelwarden.rules" -}}
- apiGroups: [modelwarden.dev]
  resources: [monitoredmodels, referencedatasets, enrichments]
  verbs: [get, list, watch]
# The finalizer.
- apiGroups: [modelwarden.dev]
  resources: [monitoredmodels]
  verbs: [patch]
- apiGroups: [modelwarden.dev]
  resources: [monitoredmodels/status, referencedatasets/status, enrichments/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# By name only: never listed, never watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# An annotation on a store's pod has its settings read at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
