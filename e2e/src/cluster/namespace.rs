//! A namespace that is made, used and removed around one test, and the workloads in it.

use super::{TESTAPP, eventually, kubectl, kubectl_stdin, shell::Outcome, try_kubectl};
use serde_json::{Value, json};
use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// How long a Pod may take to be Ready on a busy machine.
const READY: Duration = Duration::from_secs(180);

/// For tests that stop or restart what others rely on: one at a time in their test program.
pub fn serial() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Gone when the value is dropped, also when the test fails.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// A namespace labelled for injection, in which every proxy writes an access log.
    pub fn meshed(prefix: &str) -> Namespace {
        let namespace = Namespace::labelled(prefix, json!({"outrigger.dev/inject": "enabled"}));
        namespace.apply(&json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": "access-log"},
            "spec": {"targetRefs": [{"kind": "Namespace"}], "telemetry": {"accessLog": {"format": "JSON"}}},
        }));
        namespace.document_contains("accessLog");
        namespace
    }

    /// A namespace with these labels.
    pub fn labelled(prefix: &str, labels: Value) -> Namespace {
        let name = format!("e2e-{prefix}-{}", &super::fresh_id()[..6]);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        kubectl_stdin(&["create", "-f", "-"], &object.to_string());
        // Pods are refused until the service account is there
        eventually(&format!("the default service account of {name}"), Duration::from_secs(60), || {
            let outcome = try_kubectl(&["-n", &name, "get", "serviceaccount", "default"], "");
            if outcome.ok { Ok(()) } else { Err(outcome.err) }
        });
        Namespace { name }
    }

    pub fn apply(&self, object: &Value) -> String {
        kubectl_stdin(&["-n", &self.name, "apply", "-f", "-"], &object.to_string())
    }

    pub fn try_apply(&self, object: &Value) -> Outcome {
        try_kubectl(&["-n", &self.name, "apply", "-f", "-"], &object.to_string())
    }

    /// kubectl in this namespace.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(args);
        kubectl(&all)
    }

    pub fn try_kubectl(&self, args: &[&str]) -> Outcome {
        let mut all = vec!["-n", &self.name];
        all.extend(args);
        try_kubectl(&all, "")
    }

    /// An object as JSON.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])).expect("kubectl prints JSON")
    }

    /// `outrigger-testapp ARGS` in a Pod of that name with the label `app`, a port `http` 8080 and a readiness probe where
    /// it serves HTTP.
    pub fn testapp(&self, name: &str, args: &[&str]) -> Value {
        let mut container = json!({
            "name": "app", "image": TESTAPP, "args": args,
            "env": [{"name": "HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
        });
        if args.first() == Some(&"serve") {
            container["ports"] = json!([{"name": "http", "containerPort": 8080}]);
            container["readinessProbe"] = json!({"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1});
        }
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
        })
    }

    /// An HTTP service `name` on port 80 of both families, and the Pod behind it.
    pub fn serve(&self, name: &str) {
        self.apply(&self.service(name, name));
        self.apply(&self.testapp(name, &["serve", "[::]:8080", name]));
    }

    /// A dual-stack Service on port 80 to the port `http` of the Pods labelled `app: APP`.
    pub fn service(&self, name: &str, app: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": app}, "ipFamilyPolicy": "PreferDualStack",
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        })
    }

    /// A Pod that does nothing until a test executes something in it.
    pub fn client(&self, name: &str) {
        self.apply(&self.testapp(name, &["sleep"]));
    }

    #[track_caller]
    pub fn ready(&self, pods: &[&str]) {
        for pod in pods {
            eventually(&format!("Pod {}/{pod} is Ready", self.name), READY, || {
                let outcome = self.try_kubectl(&["get", "pod", pod, "-o", "json"]);
                let pod: Value = serde_json::from_str(&outcome.out).map_err(|_| outcome.err)?;
                let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
                let ready = ready.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
                if ready { Ok(()) } else { Err(pod["status"].to_string()) }
            });
        }
    }

    /// The addresses of a Service, IPv4 first.
    pub fn addresses(&self, service: &str) -> Vec<String> {
        let service = self.get("service", service);
        let mut ips: Vec<String> = service["spec"]["clusterIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.as_str().map(ToOwned::to_owned))
            .collect();
        ips.sort_by_key(|ip| ip.contains(':'));
        ips
    }

    /// One request from a Pod's application container: the status (0 where there was no answer) and everything printed.
    pub fn fetch(&self, pod: &str, url: &str, id: &str) -> (u16, String) {
        let header = format!("x-request-id: {id}");
        let outcome =
            self.try_kubectl(&["exec", pod, "-c", "app", "--", "/outrigger-testapp", "get", "-H", &header, url]);
        let status = outcome.out.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0);
        (status, format!("{}{}", outcome.out, outcome.err))
    }

    /// How often a text stands in the log of a Pod's proxy.
    pub fn in_proxy_log(&self, pod: &str, text: &str) -> usize {
        self.kubectl(&["logs", pod, "-c", "outrigger-proxy", "--tail=-1"]).matches(text).count()
    }

    /// A proxy's metrics, through the API server.
    pub fn metrics(&self, pod: &str) -> String {
        kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{}/pods/{pod}:15020/proxy/metrics", self.name)])
    }

    /// The sum of a metric's values over all series that carry all of these texts.
    pub fn metric(&self, pod: &str, name: &str, with: &[&str]) -> f64 {
        self.metrics(pod)
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")))
            .filter(|line| with.iter().all(|text| line.contains(text)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The namespace's document as the operator wrote it.
    pub fn document(&self) -> Option<String> {
        let outcome = self.try_kubectl(&["get", "configmap", "outrigger-proxy-config", "-o", "json"]);
        let object: Value = serde_json::from_str(&outcome.out).ok()?;
        object["data"]["proxy.v1.json"].as_str().map(ToOwned::to_owned)
    }

    #[track_caller]
    pub fn document_contains(&self, text: &str) {
        eventually(&format!("the document of {} contains {text}", self.name), Duration::from_secs(30), || {
            let document = self.document().unwrap_or_default();
            if document.contains(text) { Ok(()) } else { Err(document) }
        });
    }

    /// A policy's condition as `STATUS/REASON`, once there is one.
    pub fn condition(&self, policy: &str, kind: &str) -> String {
        let policy = self.get("meshpolicy", policy);
        let generation = &policy["metadata"]["generation"];
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .find(|c| c["type"] == kind && c["observedGeneration"] == *generation)
            .map(|c| format!("{}/{}", c["status"].as_str().unwrap_or(""), c["reason"].as_str().unwrap_or("")))
            .unwrap_or_default()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} when its test failed", self.name);
            for args in [
                vec!["get", "pods,meshpolicies,configmaps,jobs", "-o", "wide"],
                vec!["get", "events", "--sort-by=.lastTimestamp"],
                vec!["logs", "--all-containers", "--prefix", "--tail=30", "--selector", "app"],
            ] {
                let outcome = self.try_kubectl(&args);
                eprintln!("{}{}", outcome.out, outcome.err);
            }
        }
        let _ = try_kubectl(&["delete", "namespace", &self.name, "--wait=false", "--now"], "");
    }
}
