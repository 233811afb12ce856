{{/*
The operator's settings (operator/scoring_operator/config.py); tests/chart/test_environment.py compares the two.
A value that is empty by default is left out, so that the operator's own default holds.
*/}}
{{- define "scoring-operator.env" -}}
- name: SCORING_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: SCORING_OPERATOR_RUNTIME_IMAGES
  value: {{ include "scoring-operator.runtimeImages" . | quote }}
- name: SCORING_OPERATOR_IMAGE_PULL_POLICY
  value: {{ .Values.runtimeImagePullPolicy | quote }}
- name: SCORING_OPERATOR_ROUTER_IMAGE
  value: {{ include "scoring-operator.pulled" (dict "root" $ "name" .Values.router.image) | quote }}
{{- with .Values.watchNamespaces }}
- name: SCORING_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.ingress.domain }}
- name: SCORING_OPERATOR_INGRESS_DOMAIN
  value: {{ . | quote }}
{{- end }}
{{- with .Values.ingress.className }}
- name: SCORING_OPERATOR_INGRESS_CLASS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.ingress.tls }}
- name: SCORING_OPERATOR_INGRESS_TLS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.ingress.controllerNamespaces }}
- name: SCORING_OPERATOR_INGRESS_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: SCORING_OPERATOR_WORKERS
  value: {{ .Values.workers | quote }}
- name: SCORING_OPERATOR_RESYNC_SECONDS
  value: {{ .Values.resyncSeconds | quote }}
- name: SCORING_OPERATOR_REQUEST_TIMEOUT_SECONDS
  value: {{ .Values.requestTimeoutSeconds | quote }}
- name: SCORING_OPERATOR_LEADER_ELECTION
  value: {{ gt (int .Values.replicas) 1 | quote }}
- name: SCORING_OPERATOR_HEALTH_HOST
  value: "0.0.0.0"
- name: SCORING_OPERATOR_HEALTH_PORT
  value: "8081"
- name: SCORING_OPERATOR_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
- name: SCORING_OPERATOR_LOG_FORMAT
  value: {{ .Values.logFormat | quote }}
{{- end -}}
