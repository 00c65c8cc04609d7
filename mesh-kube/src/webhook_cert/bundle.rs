//! The `caBundle` of webhook configurations: the one field there that is ours.
//!
//! It is applied by name to the webhooks that a configuration has, never to others: an entry with a name and a caBundle
//! alone would be an incomplete webhook. The resourceVersion that was read goes along, so that a configuration that
//! changes in between is a conflict and not half a webhook.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::apply::{ApplyError, explain, server_side_apply};

/// Owns nothing else, so applying a manifest again, by whatever tool, never fights with it.
const MANAGER: &str = "outrigger-webhook-ca";

/// Our other replicas write the same thing at the same time: who lost a race finds it done on the next look.
const TRIES: u32 = 3;

/// A webhook configuration, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationRef {
    /// A MutatingWebhookConfiguration.
    Mutating(String),
    /// A ValidatingWebhookConfiguration.
    Validating(String),
}

impl ConfigurationRef {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mutating(name) | Self::Validating(name) => name,
        }
    }

    fn resource(&self) -> ApiResource {
        match self {
            Self::Mutating(_) => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating(_) => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        }
    }

    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }
}

impl fmt::Display for ConfigurationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource().kind, self.name())
    }
}

pub enum Outcome {
    /// Nothing to write.
    Same,
    Written,
    /// There is no such configuration.
    Absent,
}

/// Sees to it that every webhook of the configuration trusts `bundle`.
pub async fn publish(client: &Client, configuration: &ConfigurationRef, bundle: &str) -> Result<Outcome, ApplyError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match publish_once(client, configuration, bundle).await {
            Err(error) if error.is_conflict() && tries > 0 => {}
            outcome => return outcome,
        }
    }
}

async fn publish_once(client: &Client, configuration: &ConfigurationRef, bundle: &str) -> Result<Outcome, ApplyError> {
    let api = configuration.api(client);
    let found = api.get_opt(configuration.name()).await.map_err(|error| {
        let (code, reason) = explain(&error);
        ApplyError { object: configuration.to_string(), manager: MANAGER.to_owned(), code, reason }
    })?;
    let Some(found) = found else { return Ok(Outcome::Absent) };
    let Some(value) = to_apply(configuration, &found, bundle) else { return Ok(Outcome::Same) };
    server_side_apply(&api, configuration.name(), MANAGER, &value, true).await?;
    tracing::info!(%configuration, "caBundle written");
    Ok(Outcome::Written)
}

/// What to apply, if anything.
fn to_apply(configuration: &ConfigurationRef, found: &DynamicObject, bundle: &str) -> Option<Value> {
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let webhooks = found.data["webhooks"].as_array()?;
    if webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == bundle) {
        return None;
    }
    let named = webhooks.iter().filter(|webhook| webhook["name"].is_string());
    let ours: Vec<Value> =
        named.map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}})).collect();
    let resource = configuration.resource();
    Some(json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": configuration.name(), "resourceVersion": found.metadata.resource_version},
        "webhooks": ours,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;

    const PATH: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/outrigger-injector";
    /// `new` in base64.
    const NEW: &str = "bmV3";

    fn installed() -> Value {
        let webhook = |name: &str| {
            json!({"name": name, "sideEffects": "NoneOnDryRun",
                   "clientConfig": {"service": {"name": "outrigger-injector", "namespace": "outrigger-system"}}})
        };
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
               "webhooks": [webhook("ns.outrigger.dev"), webhook("pod.outrigger.dev")]})
    }

    fn configuration() -> ConfigurationRef {
        ConfigurationRef::Mutating("outrigger-injector".into())
    }

    #[tokio::test]
    async fn every_webhook_gets_the_bundle_and_keeps_the_rest() {
        let server = FakeApi::new();
        server.put(PATH, installed());
        assert!(matches!(publish(&server.client(), &configuration(), "new").await, Ok(Outcome::Written)));
        let asked = server.requests().pop().unwrap();
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PATCH", PATH));
        assert!(asked.query.contains("fieldManager=outrigger-webhook-ca") && asked.query.contains("force=true"));
        assert_eq!(
            asked.body,
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                   "metadata": {"name": "outrigger-injector", "resourceVersion": "1"},
                   "webhooks": [{"name": "ns.outrigger.dev", "clientConfig": {"caBundle": NEW}},
                                {"name": "pod.outrigger.dev", "clientConfig": {"caBundle": NEW}}]})
        );
        let mut expected = installed();
        for webhook in expected["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = NEW.into();
        }
        assert_eq!(server.get(PATH).unwrap()["webhooks"], expected["webhooks"]);

        assert!(matches!(publish(&server.client(), &configuration(), "new").await, Ok(Outcome::Same)));
        assert_eq!(server.requests().pop().unwrap().method, "GET");
    }

    #[tokio::test]
    async fn nothing_is_made_where_nothing_is() {
        let server = FakeApi::new();
        assert!(matches!(publish(&server.client(), &configuration(), "new").await, Ok(Outcome::Absent)));
        let validating = ConfigurationRef::Validating("outrigger-operator".into());
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/outrigger-operator";
        let api = "admissionregistration.k8s.io/v1";
        for empty in [json!({}), json!({"webhooks": []})] {
            server.put(
                path,
                empty.as_object().unwrap().iter().fold(
                    json!({"apiVersion": api, "kind": "ValidatingWebhookConfiguration"}),
                    |mut object, (key, value)| {
                        object[key] = value.clone();
                        object
                    },
                ),
            );
            assert!(matches!(publish(&server.client(), &validating, "new").await, Ok(Outcome::Same)));
        }
        assert!(server.requests().iter().all(|asked| asked.method == "GET"));
        assert_eq!(validating.to_string(), "ValidatingWebhookConfiguration outrigger-operator");
    }

    #[tokio::test]
    async fn a_configuration_that_changes_in_between_is_read_again() {
        let server = FakeApi::new();
        server.put(PATH, installed());
        let conflicts = std::sync::atomic::AtomicU32::new(0);
        server.answer_with(move |asked| {
            let number = || conflicts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (asked.method == "PATCH" && number() < 2).then_some((409, "the object has been modified"))
        });
        assert!(matches!(publish(&server.client(), &configuration(), "new").await, Ok(Outcome::Written)));
        let methods: Vec<String> = server.requests().iter().map(|asked| asked.method.to_string()).collect();
        assert_eq!(methods, ["GET", "PATCH", "GET", "PATCH", "GET", "PATCH"]);

        server.put(PATH, installed());
        server.answer_with(|asked| (asked.method == "PATCH").then_some((409, "the object has been modified")));
        assert!(matches!(publish(&server.client(), &configuration(), "new").await, Err(error) if error.is_conflict()));
    }

    #[tokio::test]
    async fn an_error_names_the_configuration() {
        let server = FakeApi::new();
        server.answer_with(|_| Some((403, "cannot get resource")));
        let Err(error) = publish(&server.client(), &configuration(), "new").await else { panic!("it was forbidden") };
        assert_eq!(
            error.to_string(),
            "cannot write MutatingWebhookConfiguration outrigger-injector as outrigger-webhook-ca: \
             cannot get resource (Forbidden, HTTP 403)"
        );
    }
}
