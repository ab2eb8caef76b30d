{{/* Names, labels and images. No object of the chart has the label app.kubernetes.io/instance of a cell. */}}

{{- define "modelwarden.name" -}}modelwarden-operator{{- end }}

{{- define "modelwarden.clusterName" -}}modelwarden-operator:{{ .Release.Namespace }}{{- end }}

{{- define "modelwarden.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "modelwarden.name" .) }}
{{- end }}

{{- define "modelwarden.selector" -}}
app.kubernetes.io/name: modelwarden
app.kubernetes.io/component: operator
{{- end }}

{{- define "modelwarden.labels" -}}
{{ include "modelwarden.selector" . }}
app.kubernetes.io/part-of: modelwarden
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "modelwarden.image" -}}
{{- $image := index . 0 }}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end }}
{{- end }}
