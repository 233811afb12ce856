{{/* The base of every object's name: the release's name, or the chart's when the release is called like it. */}}
{{- define "scoring-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names also carry the namespace, so that two releases of one name cannot collide. */}}
{{- define "scoring-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "scoring-operator.fullname" .) -}}
{{- end -}}

{{- define "scoring-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "scoring-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false: name the existing ServiceAccount." .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The selector must never change between releases of the chart: a Deployment's selector is immutable. */}}
{{- define "scoring-operator.selectorLabels" -}}
app.kubernetes.io/name: scoring-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "scoring-operator.labels" -}}
{{ include "scoring-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: scoring-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The operator's image: repository@digest where a digest is given, else repository:tag. */}}
{{- define "scoring-operator.image" -}}
{{- $name := .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- $name = printf "%s@%s" $name .Values.image.digest -}}
{{- else if .Values.image.tag -}}
{{- $name = printf "%s:%s" $name .Values.image.tag -}}
{{- end -}}
{{- include "scoring-operator.pulled" (dict "root" . "name" $name) -}}
{{- end -}}

{{/* Framework → image, as the JSON object that the operator reads. */}}
{{- define "scoring-operator.runtimeImages" -}}
{{- $images := dict -}}
{{- range $framework, $name := .Values.runtimeImages -}}
{{- if $name -}}
{{- $_ := set $images $framework (include "scoring-operator.pulled" (dict "root" $ "name" $name)) -}}
{{- end -}}
{{- end -}}
{{- $images | toJson -}}
{{- end -}}

{{/* An image name as it is pulled: registry in front, the chart's appVersion behind where it has no tag or digest. */}}
{{- define "scoring-operator.pulled" -}}
{{- $name := .name -}}
{{- if not (or (contains "@" $name) (contains ":" (base $name))) -}}
{{- $name = printf "%s:%s" $name .root.Chart.AppVersion -}}
{{- end -}}
{{- with .root.Values.imageRegistry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- $name -}}
{{- end -}}
