//! What the injector decided for one Pod, on its way to `outrigger-proxy` and `outrigger-init`: environment variables
//! `OUTRIGGER_*`, from this one table. Together with the Pod itself they hold all that removal needs.

use crate::capture::{self, Backend, Capture, IpFamilies, Mode};
use crate::{ContainerPort, Duration, Problems, pod::Probe};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// The settings of one Pod's proxy and init container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub proxy: ProxySettings,
    pub capture: Capture,
    /// Every container port of the Pod: named target ports are resolved with it.
    pub ports: Vec<ContainerPort>,
    /// The application's probes and hooks that the proxy answers.
    pub probes: Vec<Probe>,
}

/// How the proxy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Worker threads; `None`: one per CPU of the cgroup's quota, at most 2 where there is no quota.
    pub concurrency: Option<u16>,
    /// As `tracing_subscriber::EnvFilter` reads it: `info`, or `info,proxy_core=debug`.
    pub log_level: String,
    pub log_format: LogFormat,
    /// What is logged of requests where no policy says otherwise.
    pub access_log: AccessLogFormat,
    /// Silence after which an undeclared connection is opened to its destination, which may speak first.
    pub detect_timeout: Duration,
    /// How long requests in flight may take to finish once the proxy was told to stop.
    pub drain_duration: Duration,
}

impl Default for ProxySettings {
    fn default() -> Self {
        ProxySettings {
            concurrency: None,
            log_level: "info".into(),
            log_format: LogFormat::Text,
            access_log: AccessLogFormat::None,
            // a client that speaks first does so in its first round trip; 50 ms is one within a region
            detect_timeout: Duration::from_millis(50),
            // Kubernetes' default terminationGracePeriodSeconds is 30
            drain_duration: Duration::from_secs(25),
        }
    }
}

/// The form of the program's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The form of access log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogFormat {
    #[default]
    None,
    Text,
    #[serde(rename = "JSON")]
    Json,
}

/// Every key with its meaning, for `outrigger` and the docs; a test holds it equal to what `to_env` writes.
pub const KEYS: [(&str, &str); 20] = [
    (CONCURRENCY, "worker threads of the proxy; unset: by the CPU limit"),
    (LOG_LEVEL, "what the proxy logs of itself: error, warn, info, debug, trace, or directives by module"),
    (LOG_FORMAT, "text or json"),
    (ACCESS_LOG, "None, Text or JSON, where no policy says otherwise"),
    (DETECT_TIMEOUT, "silence after which an undeclared connection is opened to its destination"),
    (DRAIN_DURATION, "how long requests in flight may take to finish at the end"),
    (CAPTURE_MODE, "redirect or none"),
    (CAPTURE_BACKEND, "what writes the rules: nft"),
    (IP_FAMILIES, "dual, ipv4 or ipv6"),
    (INCLUDE_INBOUND_PORTS, "the only ports of the Pod that are captured"),
    (EXCLUDE_INBOUND_PORTS, "ports of the Pod that are not captured"),
    (EXCLUDE_INBOUND_CIDRS, "callers that are not captured"),
    (INCLUDE_OUTBOUND_PORTS, "destination ports that are captured, and nothing else"),
    (INCLUDE_OUTBOUND_CIDRS, "destinations that are captured, and nothing else"),
    (EXCLUDE_OUTBOUND_PORTS, "destination ports that are not captured"),
    (EXCLUDE_OUTBOUND_CIDRS, "destinations that are not captured"),
    (EXCLUDE_OUTBOUND_UIDS, "users whose connections are not captured"),
    (EXCLUDE_INTERFACES, "interfaces whose connections are not captured"),
    (CONTAINER_PORTS, "JSON: the Pod's container ports"),
    (PROBES, "JSON: the application's probes and hooks that the proxy answers"),
];

const CONCURRENCY: &str = "OUTRIGGER_CONCURRENCY";
const LOG_LEVEL: &str = "OUTRIGGER_LOG_LEVEL";
const LOG_FORMAT: &str = "OUTRIGGER_LOG_FORMAT";
const ACCESS_LOG: &str = "OUTRIGGER_ACCESS_LOG";
const DETECT_TIMEOUT: &str = "OUTRIGGER_DETECT_TIMEOUT";
const DRAIN_DURATION: &str = "OUTRIGGER_DRAIN_DURATION";
const CAPTURE_MODE: &str = "OUTRIGGER_CAPTURE_MODE";
const CAPTURE_BACKEND: &str = "OUTRIGGER_CAPTURE_BACKEND";
const IP_FAMILIES: &str = "OUTRIGGER_IP_FAMILIES";
const INCLUDE_INBOUND_PORTS: &str = "OUTRIGGER_INCLUDE_INBOUND_PORTS";
const EXCLUDE_INBOUND_PORTS: &str = "OUTRIGGER_EXCLUDE_INBOUND_PORTS";
const EXCLUDE_INBOUND_CIDRS: &str = "OUTRIGGER_EXCLUDE_INBOUND_CIDRS";
const INCLUDE_OUTBOUND_PORTS: &str = "OUTRIGGER_INCLUDE_OUTBOUND_PORTS";
const INCLUDE_OUTBOUND_CIDRS: &str = "OUTRIGGER_INCLUDE_OUTBOUND_CIDRS";
const EXCLUDE_OUTBOUND_PORTS: &str = "OUTRIGGER_EXCLUDE_OUTBOUND_PORTS";
const EXCLUDE_OUTBOUND_CIDRS: &str = "OUTRIGGER_EXCLUDE_OUTBOUND_CIDRS";
const EXCLUDE_OUTBOUND_UIDS: &str = "OUTRIGGER_EXCLUDE_OUTBOUND_UIDS";
const EXCLUDE_INTERFACES: &str = "OUTRIGGER_EXCLUDE_INTERFACES";
const CONTAINER_PORTS: &str = "OUTRIGGER_CONTAINER_PORTS";
const PROBES: &str = "OUTRIGGER_PROBES";

impl Settings {
    /// What differs from the defaults, as environment variables. All of it goes into `outrigger-proxy`.
    pub fn to_env(&self) -> BTreeMap<&'static str, String> {
        let mut env = self.capture_env();
        let default = ProxySettings::default();
        let proxy = &self.proxy;
        put(&mut env, CONCURRENCY, proxy.concurrency.map(|n| n.to_string()));
        put(&mut env, LOG_LEVEL, (proxy.log_level != default.log_level).then(|| proxy.log_level.clone()));
        put(&mut env, LOG_FORMAT, (proxy.log_format != default.log_format).then(|| word(&proxy.log_format)));
        put(&mut env, ACCESS_LOG, (proxy.access_log != default.access_log).then(|| word(&proxy.access_log)));
        let duration = |ours: Duration, default: Duration| (ours != default).then(|| ours.to_string());
        put(&mut env, DETECT_TIMEOUT, duration(proxy.detect_timeout, default.detect_timeout));
        put(&mut env, DRAIN_DURATION, duration(proxy.drain_duration, default.drain_duration));
        put(&mut env, CONTAINER_PORTS, (!self.ports.is_empty()).then(|| json(&self.ports)));
        put(&mut env, PROBES, (!self.probes.is_empty()).then(|| json(&self.probes)));
        env
    }

    /// The part that `outrigger-init` needs.
    pub fn capture_env(&self) -> BTreeMap<&'static str, String> {
        let mut env = BTreeMap::new();
        let (ours, default) = (&self.capture, Capture::default());
        let list = |text: String| (!text.is_empty()).then_some(text);
        put(&mut env, CAPTURE_MODE, (ours.mode != default.mode).then(|| word(&ours.mode)));
        put(&mut env, CAPTURE_BACKEND, (ours.backend != default.backend).then(|| word(&ours.backend)));
        put(&mut env, IP_FAMILIES, (ours.ip_families != default.ip_families).then(|| word(&ours.ip_families)));
        // an include list that is there and empty is not the same as none
        put(&mut env, INCLUDE_INBOUND_PORTS, ours.include_inbound_ports.as_ref().map(ToString::to_string));
        put(&mut env, INCLUDE_OUTBOUND_PORTS, ours.include_outbound_ports.as_ref().map(ToString::to_string));
        put(&mut env, INCLUDE_OUTBOUND_CIDRS, ours.include_outbound_cidrs.as_ref().map(|all| capture::join(all)));
        put(&mut env, EXCLUDE_INBOUND_PORTS, list(ours.exclude_inbound_ports.to_string()));
        put(&mut env, EXCLUDE_INBOUND_CIDRS, list(capture::join(&ours.exclude_inbound_cidrs)));
        put(&mut env, EXCLUDE_OUTBOUND_PORTS, list(ours.exclude_outbound_ports.to_string()));
        put(&mut env, EXCLUDE_OUTBOUND_CIDRS, list(capture::join(&ours.exclude_outbound_cidrs)));
        put(&mut env, EXCLUDE_OUTBOUND_UIDS, list(ours.exclude_outbound_uids.to_string()));
        put(&mut env, EXCLUDE_INTERFACES, list(capture::join(&ours.exclude_interfaces)));
        env
    }

    /// Reads them back; every problem with its key. A reader is passed in, so that no test sets the process
    /// environment: `Settings::from_env(|key| std::env::var(key).ok())`.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let mut read = Reader { get, problems: Problems::default() };
        let proxy = ProxySettings::default();
        let settings = Settings {
            proxy: ProxySettings {
                concurrency: read.with(CONCURRENCY, None, |text| {
                    let number = text.parse().ok().filter(|n| (1..=256).contains(n));
                    number.map(Some).ok_or_else(|| format!("'{text}' is not a number of threads from 1 to 256"))
                }),
                log_level: read.with(LOG_LEVEL, proxy.log_level, |text| Ok::<_, String>(text.to_owned())),
                log_format: read.word(LOG_FORMAT, proxy.log_format, "text or json"),
                access_log: read.word(ACCESS_LOG, proxy.access_log, "None, Text or JSON"),
                detect_timeout: read.parsed(DETECT_TIMEOUT, proxy.detect_timeout),
                drain_duration: read.parsed(DRAIN_DURATION, proxy.drain_duration),
            },
            capture: Capture {
                mode: read.word(CAPTURE_MODE, Mode::default(), "redirect or none"),
                backend: read.word(CAPTURE_BACKEND, Backend::default(), "nft"),
                ip_families: read.word(IP_FAMILIES, IpFamilies::default(), "dual, ipv4 or ipv6"),
                include_inbound_ports: read.with(INCLUDE_INBOUND_PORTS, None, |text| text.parse().map(Some)),
                exclude_inbound_ports: read.parsed(EXCLUDE_INBOUND_PORTS, crate::PortSet::default()),
                exclude_inbound_cidrs: read.with(EXCLUDE_INBOUND_CIDRS, vec![], capture::parse_cidrs),
                include_outbound_ports: read.with(INCLUDE_OUTBOUND_PORTS, None, |text| text.parse().map(Some)),
                include_outbound_cidrs: read
                    .with(INCLUDE_OUTBOUND_CIDRS, None, |text| capture::parse_cidrs(text).map(Some)),
                exclude_outbound_ports: read.parsed(EXCLUDE_OUTBOUND_PORTS, crate::PortSet::default()),
                exclude_outbound_cidrs: read.with(EXCLUDE_OUTBOUND_CIDRS, vec![], capture::parse_cidrs),
                exclude_outbound_uids: read.parsed(EXCLUDE_OUTBOUND_UIDS, crate::UidSet::default()),
                exclude_interfaces: read.with(EXCLUDE_INTERFACES, vec![], parse_interfaces),
            },
            ports: read.json(CONTAINER_PORTS),
            probes: read.json(PROBES),
        };
        read.problems.or(settings)
    }
}

struct Reader<G> {
    get: G,
    problems: Problems,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    fn with<T, E: Display>(&mut self, key: &str, default: T, parse: impl FnOnce(&str) -> Result<T, E>) -> T {
        let Some(text) = (self.get)(key) else { return default };
        parse(&text).unwrap_or_else(|error| {
            self.problems.add(key, error);
            default
        })
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str, default: T) -> T {
        self.with(key, default, str::parse)
    }

    fn word<T: for<'de> Deserialize<'de>>(&mut self, key: &str, default: T, words: &str) -> T {
        self.with(key, default, |text| {
            serde_json::from_value(text.into()).map_err(|_| format!("'{text}' is none of {words}"))
        })
    }

    fn json<T: for<'de> Deserialize<'de> + Default>(&mut self, key: &str) -> T {
        self.with(key, T::default(), |text| serde_json::from_str(text))
    }
}

/// Names as the kernel allows them (IFNAMSIZ is 16 with the NUL; no `/`, no white space).
pub fn parse_interfaces(text: &str) -> Result<Vec<String>, String> {
    let valid = |name: &str| !name.is_empty() && name.len() < 16 && !name.contains('/') && !name.contains(' ');
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| if valid(name) { Ok(name.to_owned()) } else { Err(format!("'{name}' is not an interface's name")) })
        .collect()
}

fn put(env: &mut BTreeMap<&'static str, String>, key: &'static str, value: Option<String>) {
    env.extend(value.map(|value| (key, value)));
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data without maps of other keys than text")
}

/// A unit variant's name.
fn word<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::ProbeKind;

    fn everything() -> Settings {
        Settings {
            proxy: ProxySettings {
                concurrency: Some(3),
                log_level: "debug".into(),
                log_format: LogFormat::Json,
                access_log: AccessLogFormat::Json,
                detect_timeout: Duration::from_millis(5),
                drain_duration: Duration::from_secs(7),
            },
            capture: Capture {
                mode: Mode::None,
                backend: Backend::Nft,
                ip_families: IpFamilies::Ipv6,
                include_inbound_ports: Some("".parse().unwrap()),
                exclude_inbound_ports: "1-3,9".parse().unwrap(),
                exclude_inbound_cidrs: capture::parse_cidrs("10.0.0.0/8").unwrap(),
                include_outbound_ports: Some("80".parse().unwrap()),
                include_outbound_cidrs: Some(vec![]),
                exclude_outbound_ports: "5432".parse().unwrap(),
                exclude_outbound_cidrs: capture::parse_cidrs("fd00::/8").unwrap(),
                exclude_outbound_uids: "0,1000-1010".parse().unwrap(),
                exclude_interfaces: vec!["eth1".into()],
            },
            ports: vec![ContainerPort { container: "a".into(), name: Some("http".into()), port: 80, protocol: None }],
            probes: vec![Probe {
                container: "a".into(),
                kind: ProbeKind::PreStop,
                timeout_seconds: 1,
                handler: serde_json::json!({"httpGet": {"port": 80}}),
            }],
        }
    }

    fn read(env: &BTreeMap<&'static str, String>) -> Result<Settings, Problems> {
        Settings::from_env(|key| env.get(key).cloned())
    }

    #[test]
    fn settings_come_back_as_they_went() {
        for settings in [everything(), Settings::default()] {
            assert_eq!(read(&settings.to_env()).unwrap(), settings);
        }
        assert_eq!(Settings::default().to_env(), BTreeMap::new());
        let capture = everything().capture;
        assert_eq!(read(&everything().capture_env()).unwrap().capture, capture);
    }

    #[test]
    fn the_table_of_keys_is_complete() {
        let mut keys: Vec<_> = KEYS.iter().map(|(key, _)| *key).filter(|key| *key != CAPTURE_BACKEND).collect();
        keys.sort_unstable();
        // the one backend is the default, so it is never written
        assert_eq!(everything().to_env().into_keys().collect::<Vec<_>>(), keys);
    }

    #[test]
    fn all_problems_are_named_with_their_keys() {
        let bad = [(CONCURRENCY, "0"), (LOG_FORMAT, "xml"), (EXCLUDE_OUTBOUND_PORTS, "http"), (PROBES, "{")];
        let env = bad.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        let problems = read(&env).unwrap_err();
        assert_eq!(
            problems.0.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(),
            [CONCURRENCY, LOG_FORMAT, EXCLUDE_OUTBOUND_PORTS, PROBES]
        );
        assert_eq!(problems.0[1].message, "'xml' is none of text or json");
    }
}
