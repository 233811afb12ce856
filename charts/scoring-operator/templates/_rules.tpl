{{/*
What the operator does in the namespaces of the ScoringServices. docs/security.md gives the reason of each line, and
tests/chart/test_rbac.py compares them with the calls in operator/scoring_operator.
*/}}
{{- define "scoring-operator.namespacedRules" -}}
- apiGroups: [scoring.dev]
  resources: [scoringservices]
  verbs: [list, watch]
- apiGroups: [scoring.dev]
  resources: [scoringservices/status]
  verbs: [patch]
# ownerReferences with blockOwnerDeletion need this where the admission plugin
# OwnerReferencesPermissionEnforcement is on, as on OpenShift. The operator sets no finalizer.
- apiGroups: [scoring.dev]
  resources: [scoringservices/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [serviceaccounts, secrets, configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# The autoscaler writes the number of a version's pods here, and nowhere else.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [traefik.io]
  resources: [middlewares]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# An annotation on the pods of a router tells kubelet to refresh its files at once. Through the status alone: whoever may
# patch pods may also put another image into them.
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create, patch]
{{- end -}}

{{/* What lies outside every namespace. */}}
{{- define "scoring-operator.clusterRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
# What the Gateways that services name can do; they may be in any namespace.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, gatewayclasses]
  verbs: [get]
# Who signs the cluster's tokens, and the public keys to verify them with, for services with auth: {type: Token}.
- nonResourceURLs: [/.well-known/openid-configuration, /openid/v1/jwks]
  verbs: [get]
{{- end -}}
