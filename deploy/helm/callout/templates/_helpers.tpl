{{/* The names and labels of the chart's objects. */}}
{{- define "callout.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "callout.selector" -}}
app.kubernetes.io/name: callout
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "callout.labels" -}}
{{ include "callout.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "callout.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "callout.storesSecret" -}}
{{ .Values.stores.existingSecret | default (printf "%s-stores" (include "callout.name" .)) }}
{{- end -}}

{{- define "callout.keySecret" -}}
{{ .Values.signingKey.existingSecret | default (printf "%s-signing-key" (include "callout.name" .)) }}
{{- end -}}

{{/* Pods start anew when what they read at their start changes. */}}
{{- define "callout.podAnnotations" -}}
checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
{{- if not .Values.stores.existingSecret }}
checksum/stores: {{ printf "%s %s" .Values.stores.redis .Values.stores.database | sha256sum }}
{{- end }}
{{- if .Values.metrics.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: "8701"
prometheus.io/path: /metrics
{{- end }}
{{- end -}}

{{- define "callout.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* One container. `roles` is what the process does, `drain` its drain_s. */}}
{{- define "callout.container" -}}
- name: callout
  image: {{ include "callout.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  env:
    - name: CALLOUT_ROLES
      value: {{ .roles | quote }}
    - name: CALLOUT_KEY_FILE
      value: /key/signing.key
    - name: CALLOUT_DRAIN_S
      value: {{ .drain | quote }}
    - name: CALLOUT_REDIS
      valueFrom:
        secretKeyRef:
          name: {{ include "callout.storesSecret" .root }}
          key: redis
    - name: CALLOUT_DATABASE
      valueFrom:
        secretKeyRef:
          name: {{ include "callout.storesSecret" .root }}
          key: database
    {{- if .root.Values.blueprints }}
    - name: CALLOUT_BLUEPRINTS
      value: /config/blueprints
    {{- end }}
    {{- range $name, $value := .root.Values.settings }}
    - name: {{ $name }}
      value: {{ $value | toString | quote }}
    {{- end }}
  workingDir: /config
  ports:
    - name: http
      containerPort: 8700
    - name: metrics
      containerPort: 8701
  # The first start migrates the database, which takes a while in a large one.
  startupProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 2
    failureThreshold: 300
  livenessProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 1
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: data
      mountPath: /data
    - name: key
      mountPath: /key
      readOnly: true
    - name: config
      mountPath: /config
      readOnly: true
    - name: tmp
      mountPath: /tmp
{{- end -}}

{{/* The volumes that both kinds of pods have. */}}
{{- define "callout.volumes" -}}
- name: key
  secret:
    secretName: {{ include "callout.keySecret" . }}
    defaultMode: 0440
- name: config
  configMap:
    name: {{ include "callout.name" . }}
    items:
      - {key: callout.toml, path: callout.toml}
      {{- range $name, $_ := .Values.blueprints }}
      - {key: {{ printf "blueprint.%s" $name }}, path: {{ printf "blueprints/%s.toml" $name }}}
      {{- end }}
      {{- range $name, $_ := .Values.areas }}
      - {key: {{ printf "area.%s" $name }}, path: {{ printf "areas/%s.geojson" $name }}}
      {{- end }}
- name: tmp
  emptyDir: {}
{{- end -}}
