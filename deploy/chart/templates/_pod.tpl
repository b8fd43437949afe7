{{/* What the Pod Security Standard "restricted" demands, and a user by number. */}}
{{- define "pipeline-xero.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pipeline-xero.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* {root, name} -> {secret, urlKey, ca: {name, key}}: where the database of a service is. */}}
{{- define "pipeline-xero.database" -}}
{{- if .root.Values.postgres.cnpg.enabled }}
{{- $cluster := printf "%s-%s-db" (include "pipeline-xero.fullname" .root) .name }}
secret: {{ $cluster }}-app
urlKey: uri
ownerUrlKey: uri
ca: {name: {{ $cluster }}-ca, key: ca.crt}
{{- else }}
secret: {{ (get .root.Values.services .name).secretName }}
urlKey: DATABASE_URL
ownerUrlKey: {{ .root.Values.postgres.ownerUrlKey }}
ca: {{ toJson .root.Values.postgres.caSecret }}
{{- end }}
{{- end }}

{{/* Standard variables of PostgreSQL's clients, which services and migrations read beside the address. */}}
{{- define "pipeline-xero.databaseTls" -}}
{{- with (include "pipeline-xero.database" . | fromYaml).ca }}
- {name: PGSSLMODE, value: verify-full}
- {name: PGSSLROOTCERT, value: /etc/pipeline-xero/postgres-ca.crt}
{{- end }}
{{- end }}

{{- define "pipeline-xero.kafkaServers" -}}
{{- with .Values.kafka.strimzi }}{{ if .enabled }}{{ .cluster }}-kafka-bootstrap.{{ $.Release.Namespace }}.svc:9093{{ else }}{{ $.Values.kafka.bootstrapServers }}{{ end }}{{ end }}
{{- end }}

{{/* {root, name}: a user of Strimzi's, who names the Secret that it makes alike: no Secret of yours may have that name. */}}
{{- define "pipeline-xero.kafkaUser" -}}
{{ include "pipeline-xero.fullname" .root }}-{{ .name }}-kafka
{{- end }}

{{/* {root, name} -> {secret, username, passwordKey, ca: {name, key}, certificate: {name, cert, key}}: how a service enters Kafka. */}}
{{- define "pipeline-xero.kafka" -}}
{{- if .root.Values.kafka.strimzi.enabled }}
{{- $user := include "pipeline-xero.kafkaUser" . }}
secret: {{ $user }}
username: {{ $user }}
passwordKey: password
ca: {name: {{ .root.Values.kafka.strimzi.cluster }}-cluster-ca-cert, key: ca.crt}
{{- if .root.Values.kafka.clientCertificates }}
certificate: {name: {{ $user }}, cert: user.crt, key: user.key}
{{- end }}
{{- else }}
secret: {{ (get .root.Values.services .name).secretName }}
username: ""
passwordKey: KAFKA_SASL_PASSWORD
ca: {{ toJson .root.Values.kafka.caSecret }}
{{- if .root.Values.kafka.clientCertificates }}
certificate: {name: {{ (get .root.Values.services .name).secretName }}-kafka, cert: tls.crt, key: tls.key}
{{- end }}
{{- end }}
{{- end }}

{{/* {root, name}: every setting of a service; those of `settings` are never among the others, the schema sees to it. */}}
{{- define "pipeline-xero.env" -}}
{{- $values := .root.Values }}
{{- $service := get $values.services .name }}
{{- $fact := get (include "pipeline-xero.facts" . | fromYaml) .name }}
{{- $kafka := include "pipeline-xero.kafka" . | fromYaml }}
{{- $database := include "pipeline-xero.database" . | fromYaml }}
- {name: HTTP_HOST, value: 0.0.0.0}
- {name: HTTP_PORT, value: "8080"}
- {name: AUTH_ISSUERS_FILE, value: /etc/pipeline-xero/issuers.json}
{{- if $fact.serviceKey }}
- {name: SERVICE_KEY_FILE, value: /etc/pipeline-xero/service-key.pem}
{{- end }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $database.secret }}, key: {{ $database.urlKey }}}}
{{- include "pipeline-xero.databaseTls" . }}
- {name: KAFKA_BOOTSTRAP_SERVERS, value: {{ include "pipeline-xero.kafkaServers" .root | quote }}}
- {name: KAFKA_SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol }}}
{{- if hasPrefix "SASL_" $values.kafka.securityProtocol }}
- {name: KAFKA_SASL_MECHANISM, value: {{ $values.kafka.saslMechanism }}}
{{- if $kafka.username }}
- {name: KAFKA_SASL_USERNAME, value: {{ $kafka.username }}}
{{- else }}
- name: KAFKA_SASL_USERNAME
  valueFrom: {secretKeyRef: {name: {{ $kafka.secret }}, key: KAFKA_SASL_USERNAME}}
{{- end }}
- name: KAFKA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $kafka.secret }}, key: {{ $kafka.passwordKey }}}}
{{- end }}
{{- if $kafka.ca }}
- {name: KAFKA_SSL_CA_FILE, value: /etc/pipeline-xero/kafka-ca.crt}
{{- end }}
{{- if $kafka.certificate }}
- {name: KAFKA_SSL_CERT_FILE, value: /etc/pipeline-xero/kafka-client.crt}
- {name: KAFKA_SSL_KEY_FILE, value: /etc/pipeline-xero/kafka-client.key}
{{- end }}
{{- if eq .name "connector" }}
- {name: PUBLIC_URL, value: {{ $values.publicUrl | quote }}}
- {name: INVOICE_SYNC_URL, value: {{ include "pipeline-xero.address" (dict "root" .root "name" "invoice-sync") }}}
- name: XERO_CLIENT_ID
  valueFrom: {secretKeyRef: {name: {{ $service.secretName }}, key: XERO_CLIENT_ID}}
- name: XERO_CLIENT_SECRET
  valueFrom: {secretKeyRef: {name: {{ $service.secretName }}, key: XERO_CLIENT_SECRET}}
- {name: TOKEN_KEYS_FILE, value: /etc/pipeline-xero/token-keys}
{{- if and (or $values.ingress.enabled $values.httpRoute.enabled) (not (hasKey $service.settings "TRUSTED_PROXIES")) }}
- {name: TRUSTED_PROXIES, value: "1"}
{{- end }}
{{- else if eq .name "invoice-sync" }}
- {name: CONNECTOR_URL, value: {{ include "pipeline-xero.address" (dict "root" .root "name" "connector") }}}
- {name: PIPELINE_WEB_URL, value: {{ $values.pipelineWebUrl | quote }}}
{{- else if eq .name "payment-ingest" }}
- {name: CONNECTOR_URL, value: {{ include "pipeline-xero.address" (dict "root" .root "name" "connector") }}}
- name: XERO_WEBHOOK_KEYS
  valueFrom: {secretKeyRef: {name: {{ $service.secretName }}, key: XERO_WEBHOOK_KEYS}}
{{- else if eq .name "ops-dashboard" }}
- {name: INVOICE_SYNC_URL, value: {{ include "pipeline-xero.address" (dict "root" .root "name" "invoice-sync") }}}
- {name: PAYMENT_INGEST_URL, value: {{ include "pipeline-xero.address" (dict "root" .root "name" "payment-ingest") }}}
- {name: PIPELINE_WEB_URL, value: {{ $values.pipelineWebUrl | quote }}}
- {name: CARD_URL, value: {{ $values.publicUrl | quote }}}
{{- with $values.staffAccountId }}
- {name: STAFF_ACCOUNT_ID, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- with $values.tracing.otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := $service.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{/* {root, name}: the files that the settings above name, read-only in one folder. */}}
{{- define "pipeline-xero.files" -}}
{{- $service := get .root.Values.services .name }}
{{- $fact := get (include "pipeline-xero.facts" . | fromYaml) .name }}
{{- $kafka := include "pipeline-xero.kafka" . | fromYaml }}
- configMap:
    name: {{ .root.Values.authIssuersConfigMap }}
    items: [{key: issuers.json, path: issuers.json}]
{{- if $fact.serviceKey }}
- secret:
    name: {{ $service.secretName }}
    items:
      - {key: service-key.pem, path: service-key.pem}
      {{- if eq .name "connector" }}
      - {key: token-keys, path: token-keys}
      {{- end }}
{{- end }}
{{- with $kafka.ca }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: kafka-ca.crt}]
{{- end }}
{{- with $kafka.certificate }}
- secret:
    name: {{ .name }}
    items:
      - {key: {{ .cert }}, path: kafka-client.crt}
      - {key: {{ .key }}, path: kafka-client.key}
{{- end }}
{{- include "pipeline-xero.databaseFiles" . }}
{{- end }}

{{- define "pipeline-xero.databaseFiles" -}}
{{- with (include "pipeline-xero.database" . | fromYaml).ca }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key }}, path: postgres-ca.crt}]
{{- end }}
{{- end }}
