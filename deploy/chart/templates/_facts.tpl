{{/* What is true of each service whatever the values say: its package, whom it calls, whether it serves the public. */}}
{{- define "pipeline-xero.facts" -}}
connector: {module: connector, calls: [invoice-sync], public: true, internet: true, serviceKey: true, preStopSeconds: 0}
invoice-sync: {module: invoice_sync, calls: [connector], public: false, internet: false, serviceKey: true, preStopSeconds: 0}
# Xero does not try again at once: the receiver answers until no proxy sends it anything any more.
payment-ingest: {module: payment_ingest, calls: [connector], public: true, internet: false, serviceKey: true, preStopSeconds: 10}
ops-dashboard: {module: ops_dashboard, calls: [invoice-sync, payment-ingest], public: false, internet: false, serviceKey: false, preStopSeconds: 0}
{{- end }}

{{/* {root, name} -> the paths of a service that the world may reach. The gateway (/v1) is none. */}}
{{- define "pipeline-xero.paths" -}}
connector:
  - {exact: false, path: /accounts}
  - {exact: false, path: /oauth/xero}
  - {exact: false, path: /static}
payment-ingest:
  - {exact: true, path: /webhooks/xero}
{{- end }}
