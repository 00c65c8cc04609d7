//! What a real API server makes of a Pod between two calls of the webhook: its defaults, its own way of writing
//! quantities, and the ServiceAccount admission plugin. From `pkg/apis/core/v1/defaults.go` and
//! `plugin/pkg/admission/serviceaccount` of Kubernetes 1.36.

use serde_json::{Map, Value, json};

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The Pod as the server would send it to us next time.
pub fn returned(pod: &Value) -> Value {
    let mut pod = pod.clone();
    drop_empty(&mut pod);
    defaults(&mut pod["metadata"], json!({"uid": "u-1", "creationTimestamp": "2026-11-21T12:00:00Z"}));
    let spec = &mut pod["spec"];
    defaults(
        spec,
        json!({
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority", "serviceAccountName": "default", "serviceAccount": "default",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        }),
    );
    service_account(spec);
    for list in ["initContainers", "containers"] {
        for one in items(spec, list) {
            container(one);
        }
    }
    for one in items(spec, "volumes") {
        volume(one);
    }
    pod
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let policy = if image.contains(':') && !image.ends_with(":latest") { "IfNotPresent" } else { "Always" };
    defaults(
        container,
        json!({
            "imagePullPolicy": policy, "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }),
    );
    for port in items(container, "ports") {
        defaults(port, json!({"protocol": "TCP"}));
    }
    for variable in items(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            defaults(field, json!({"apiVersion": "v1"}));
        }
        if variable["value"] == "" {
            variable.as_object_mut().unwrap().remove("value");
        }
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            defaults(
                probe,
                json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
            );
            handler(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
            handler(hook);
        }
    }
    let resources = &mut container["resources"];
    for kind in ["limits", "requests"] {
        for (_, quantity) in resources.get_mut(kind).and_then(Value::as_object_mut).into_iter().flatten() {
            *quantity = canonical(quantity).into();
        }
    }
    if let Some(limits) = resources.get("limits").cloned() {
        if resources.get("requests").is_none() {
            resources["requests"] = json!({});
        }
        defaults(&mut resources["requests"], limits);
    }
}

fn handler(probe: &mut Value) {
    if let Some(http) = probe.get_mut("httpGet") {
        defaults(http, json!({"path": "/", "scheme": "HTTP"}));
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        defaults(grpc, json!({"service": ""}));
    }
}

fn volume(volume: &mut Value) {
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            defaults(source, json!({"defaultMode": 0o644}));
        }
    }
    for items_of in ["/downwardAPI", "/projected/sources/2/downwardAPI"] {
        for item in volume.pointer_mut(items_of).map(|source| items(source, "items")).unwrap_or_default() {
            defaults(&mut item["fieldRef"], json!({"apiVersion": "v1"}));
        }
    }
    for source in volume.get_mut("projected").map(|projected| items(projected, "sources")).unwrap_or_default() {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            defaults(token, json!({"expirationSeconds": 3600}));
        }
    }
    if let Some(size) = volume.pointer_mut("/emptyDir/sizeLimit") {
        *size = canonical(size).into();
    }
}

/// A token volume, mounted into every container that has nothing at the place.
fn service_account(spec: &mut Value) {
    const VOLUME: &str = "kube-api-access-x7k2p";
    if spec["automountServiceAccountToken"] == false {
        return;
    }
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            let taken = items(container, "volumeMounts").iter().any(|mount| mount["mountPath"] == TOKEN);
            if !taken {
                defaults(container, json!({"volumeMounts": []}));
                let mount = json!({"name": VOLUME, "readOnly": true, "mountPath": TOKEN});
                container["volumeMounts"].as_array_mut().unwrap().push(mount);
                used = true;
            }
        }
    }
    if used {
        defaults(spec, json!({"volumes": []}));
        spec["volumes"].as_array_mut().unwrap().push(
            json!({"name": VOLUME, "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}),
        );
    }
}

/// The few forms that the cases use.
fn canonical(quantity: &Value) -> String {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    match text.as_str() {
        "0.5" => "500m".into(),
        "1024Mi" => "1Gi".into(),
        "1000m" => "1".into(),
        _ => text,
    }
}

fn defaults(onto: &mut Value, values: Value) {
    let (Value::Object(onto), Value::Object(values)) = (onto, values) else { panic!("two objects") };
    for (key, value) in values {
        onto.entry(key).or_insert(value);
    }
}

fn items<'a>(of: &'a mut Value, list: &str) -> Vec<&'a mut Value> {
    of.get_mut(list).and_then(Value::as_array_mut).map(|items| items.iter_mut().collect()).unwrap_or_default()
}

/// Go's `omitempty`.
pub fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let kept: Map<String, Value> = std::mem::take(object)
                .into_iter()
                .map(|(key, mut value)| {
                    drop_empty(&mut value);
                    (key, value)
                })
                .filter(|(key, value)| {
                    let nothing = value.is_null() || *value == json!([]) || (*value == json!({}) && key != "emptyDir");
                    !nothing
                })
                .collect();
            *object = kept;
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}
