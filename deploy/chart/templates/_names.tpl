{{- define "pipeline-xero.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 30 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 30 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* {root, name}: labels of all objects of a service. */}}
{{- define "pipeline-xero.labels" -}}
{{ include "pipeline-xero.selector" . }}
app.kubernetes.io/part-of: pipeline-xero
app.kubernetes.io/version: {{ include "pipeline-xero.tag" . | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* {root, name}: what selects the pods of a service; never changed, since a Deployment's selector cannot be. */}}
{{- define "pipeline-xero.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "pipeline-xero.tag" -}}
{{- $service := get .root.Values.services .name | default dict -}}
{{ $service.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "pipeline-xero.image" -}}
{{ .root.Values.image.registry }}pipeline-xero/{{ .name }}:{{ include "pipeline-xero.tag" . }}
{{- end }}

{{/* {root, name}: where other pods find a service. */}}
{{- define "pipeline-xero.address" -}}
http://{{ include "pipeline-xero.fullname" .root }}-{{ .name }}:8080
{{- end }}

{{- define "pipeline-xero.host" -}}
{{ .Values.publicUrl | trimPrefix "https://" | splitList ":" | first }}
{{- end }}
