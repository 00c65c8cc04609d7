//! Mesh-wide settings: key `mesh.yaml` of the ConfigMap `outrigger-mesh`, read by injector and operator. A namespace's
//! and a Pod's annotations win over what stands here.

use crate::settings::{AccessLogFormat, LogFormat, ProxySettings};
use crate::{Duration, Problems, names};
use serde::{Deserialize, Serialize};

/// The whole file; every field may be left out. Unknown fields are refused: a typing error must not pass as a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mesh {
    /// The SPIFFE trust domain.
    pub trust_domain: String,
    /// What happens to a Pod whose namespace and labels say nothing.
    pub default_injection: DefaultInjection,
    /// Namespaces that are never touched, beside kube-system, kube-public, kube-node-lease and our own.
    pub excluded_namespaces: Vec<String>,
    pub images: Images,
    pub init: Init,
    pub proxy: Proxy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultInjection {
    #[default]
    Disabled,
    Enabled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Images {
    pub proxy: String,
    pub init: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: PullPolicy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Init {
    /// For image stores that lose extended attributes, and with them the file capability: runs as root instead.
    pub run_as_root: bool,
    pub resources: Resources,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// Worker threads; unset: by the CPU limit.
    pub concurrency: Option<u16>,
    pub log_level: String,
    pub log_format: LogFormat,
    /// What is logged of requests where no policy says otherwise.
    pub access_log: AccessLogFormat,
    pub detect_timeout: Duration,
    pub drain_duration: Duration,
    pub resources: Resources,
}

/// Kubernetes quantities; an empty text means that the field isn't set at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    pub cpu_request: String,
    pub cpu_limit: String,
    pub memory_request: String,
    pub memory_limit: String,
}

impl Default for Mesh {
    fn default() -> Self {
        Mesh {
            trust_domain: names::TRUST_DOMAIN.into(),
            default_injection: DefaultInjection::default(),
            excluded_namespaces: Vec::new(),
            images: Images::default(),
            init: Init::default(),
            proxy: Proxy::default(),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Images {
            proxy: format!("localhost/outrigger-proxy:{}", names::VERSION),
            init: format!("localhost/outrigger-init:{}", names::VERSION),
            pull_policy: PullPolicy::default(),
        }
    }
}

impl Default for Init {
    fn default() -> Self {
        // measured: the init container's peak is 1.3 MB; runc itself needs the rest
        Init { run_as_root: false, resources: Resources::new("10m", "100m", "8Mi", "32Mi") }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        let settings = ProxySettings::default();
        Proxy {
            concurrency: settings.concurrency,
            log_level: settings.log_level,
            log_format: settings.log_format,
            access_log: settings.access_log,
            detect_timeout: settings.detect_timeout,
            drain_duration: settings.drain_duration,
            resources: Resources::new("100m", "500m", "128Mi", "512Mi"),
        }
    }
}

impl Resources {
    fn new(cpu_request: &str, cpu_limit: &str, memory_request: &str, memory_limit: &str) -> Self {
        Resources {
            cpu_request: cpu_request.into(),
            cpu_limit: cpu_limit.into(),
            memory_request: memory_request.into(),
            memory_limit: memory_limit.into(),
        }
    }
}

impl Proxy {
    /// The part that travels to the proxy.
    pub fn settings(&self) -> ProxySettings {
        ProxySettings {
            concurrency: self.concurrency,
            log_level: self.log_level.clone(),
            log_format: self.log_format,
            access_log: self.access_log,
            detect_timeout: self.detect_timeout,
            drain_duration: self.drain_duration,
        }
    }
}

impl Mesh {
    /// Reads and checks `mesh.yaml`. An empty file is all defaults.
    pub fn parse(yaml: &str) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let only_comments = yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if only_comments {
            return Ok(Mesh::default());
        }
        let mesh: Mesh = match serde_saphyr::from_str(yaml) {
            Ok(mesh) => mesh,
            Err(error) => {
                problems.add(names::KEY_MESH, error);
                return Err(problems);
            }
        };
        mesh.check(&mut problems);
        problems.or(mesh)
    }

    fn check(&self, problems: &mut Problems) {
        let domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        // SPIFFE ID standard, 2.1: lower case letters, digits, '.', '-', '_', at most 255 bytes
        if self.trust_domain.is_empty() || self.trust_domain.len() > 255 || !self.trust_domain.chars().all(domain) {
            let message = format!("'{}' is not a trust domain; write for example cluster.local", self.trust_domain);
            problems.add("trustDomain", message);
        }
        for (path, image) in [("images.proxy", &self.images.proxy), ("images.init", &self.images.init)] {
            if image.is_empty() || image.contains(char::is_whitespace) {
                problems.add(path, format!("'{image}' is not an image; write REPOSITORY:TAG"));
            }
        }
        if self.proxy.concurrency.is_some_and(|n| !(1..=256).contains(&n)) {
            problems.add("proxy.concurrency", "must be from 1 to 256, or left out");
        }
        for (path, resources) in [("init", &self.init.resources), ("proxy", &self.proxy.resources)] {
            for (field, value) in [
                ("cpuRequest", &resources.cpu_request),
                ("cpuLimit", &resources.cpu_limit),
                ("memoryRequest", &resources.memory_request),
                ("memoryLimit", &resources.memory_limit),
            ] {
                if !value.is_empty() && !is_quantity(value) {
                    let message =
                        format!("'{value}' is not a quantity; write for example 100m or 128Mi, or \"\" for none");
                    problems.add(format!("{path}.resources.{field}"), message);
                }
            }
        }
    }
}

/// Whether the API server takes it as a quantity (docs: "Quantity"; the same expression as its OpenAPI pattern).
pub fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &text[number.len()..];
    let mut parts = number.splitn(2, '.');
    let digits = |part: Option<&str>| part.is_none_or(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    number.bytes().any(|byte| byte.is_ascii_digit())
        && digits(parts.next())
        && digits(parts.next())
        && ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults_and_the_defaults_are_valid() {
        assert_eq!(Mesh::parse("").unwrap(), Mesh::default());
        assert_eq!(Mesh::parse("# nothing yet\n").unwrap(), Mesh::default());
        let text = serde_saphyr::to_string(&Mesh::default()).unwrap();
        assert_eq!(Mesh::parse(&text).unwrap(), Mesh::default());
    }

    #[test]
    fn a_field_that_does_not_exist_is_refused_by_its_name() {
        let error = Mesh::parse("proxy:\n  acessLog: JSON\n").unwrap_err().to_string();
        assert!(error.contains("acessLog"), "{error}");
    }

    #[test]
    fn all_bad_values_are_named() {
        let yaml = "trustDomain: A b\nimages: {proxy: ''}\nproxy: {concurrency: 0, resources: {cpuLimit: 1 core}}\n";
        let problems = Mesh::parse(yaml).unwrap_err();
        assert_eq!(
            problems.0.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(),
            ["trustDomain", "images.proxy", "proxy.concurrency", "proxy.resources.cpuLimit"]
        );
    }

    #[test]
    fn quantities_are_those_of_the_api_server() {
        for good in ["1", "0.5", "100m", "128Mi", "1.5Gi", "2k"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1 Mi", "-1", "1Mb", "1.2.3", "١"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
