//! The webhook's certificate: made by us, kept in a Secret, renewed in time, and trusted by the API server because we
//! write its CA into the webhook configurations.
//!
//! ```text
//! Secret --read, watched--> what is there (`secret`)   --> what to do (`plan`, pure) --> the next set --> Secret
//!                                   |                                                    (a race is lost by 409)
//!                                   +--> tls::CertResolver          (every replica serves what the Secret says)
//!                                   +--> caBundle of the configurations                             (`bundle`)
//! ```
//!
//! Every replica does all of it; there is no leader. The Secret is read through the API and never mounted: a mount lags
//! by a minute, and differently on every node. It is replaced with the resourceVersion that was read, so of two
//! replicas one writes and the other reads again. A Secret that is missing or broken while a replica still knows the
//! last good set becomes a new CA beside the old one, so that no call fails; where nobody knows it, everything is new.
//!
//! Needs: get, list, watch, update of the one Secret, and create of Secrets in its namespace (RBAC can't name what isn't
//! there yet); get, list, watch, patch of the named configurations; create, patch of Events (events.k8s.io).

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use mesh_runtime::readiness::Gate;
use mesh_runtime::signals::Shutdown;
use mesh_runtime::tls::CertResolver;
use tokio::time::{Instant, sleep_until};

use crate::apply::explain;
use crate::events::{Events, Type};

mod bundle;
mod material;
mod plan;
mod secret;

pub use bundle::ConfigurationRef;
use material::Set;
use plan::{Published, State, Step};

/// Looking is cheap, and finds what a watch missed; it also is how time passes.
const POLL: Duration = Duration::from_secs(30);
/// After an error.
const RETRY: Duration = Duration::from_secs(5);
/// After a lost race: the winner is done by then.
const LOST_RACE: Duration = Duration::from_millis(200);

/// What is to be certified, where it is kept, and who has to trust it.
#[derive(Clone, Debug)]
pub struct WebhookCert {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name; it is made if it isn't there.
    pub secret: String,
    /// The names by which the API server calls us: `<service>.<namespace>.svc` and what else is wanted.
    pub dns_names: Vec<String>,
    /// Whose `caBundle` is ours. One that doesn't exist (yet) is left alone.
    pub configurations: Vec<ConfigurationRef>,
}

impl WebhookCert {
    /// Keeps `resolver` supplied and the configurations up to date, until `shutdown`. Errors are logged and tried again.
    ///
    /// The gate opens once there is a certificate and every configuration that exists carries its CA. It isn't closed
    /// again: what is being served stays good when the API server is away.
    pub async fn run(self, client: Client, resolver: CertResolver, gate: Gate, shutdown: Shutdown) {
        self.run_by(client, resolver, gate, shutdown, Timestamp::now).await;
    }

    /// The clock is a parameter because certificates live for months.
    async fn run_by(
        self,
        client: Client,
        resolver: CertResolver,
        gate: Gate,
        shutdown: Shutdown,
        clock: impl Fn() -> Timestamp,
    ) {
        let mut changes = self.changes(&client);
        let mut keeper = Keeper {
            secrets: Api::namespaced(client.clone(), &self.namespace),
            events: Events::new(client.clone(), "outrigger-webhook-certificate"),
            client,
            resolver,
            want: self,
            last_good: None,
            published: None,
        };
        while !shutdown.is_requested() {
            let pause = match keeper.pass(clock()).await {
                Ok(Done::AllGood) => {
                    gate.open();
                    POLL
                }
                Ok(Done::Wrote) => Duration::ZERO,
                Ok(Done::LostRace) => LOST_RACE,
                Err(error) => {
                    tracing::warn!(error, "webhook certificate; trying again");
                    if !gate.is_open() {
                        gate.close(error);
                    }
                    RETRY
                }
            };
            let next = Instant::now() + pause;
            tokio::select! {
                () = shutdown.requested() => {}
                () = sleep_until(next) => {}
                Some(()) = changes.next() => {}
            }
        }
    }

    /// One item for every change of the Secret or a configuration, whatever it is: the objects are read anew.
    fn changes(&self, client: &Client) -> BoxStream<'static, ()> {
        let secrets = Api::<Secret>::namespaced(client.clone(), &self.namespace);
        let mut streams = vec![changes_of(watch_object(secrets, &self.secret))];
        for configuration in &self.configurations {
            streams.push(changes_of(watch_object(configuration.api(client), configuration.name())));
        }
        stream::select_all(streams).boxed()
    }
}

fn changes_of<T, E: std::fmt::Display + Send + 'static>(
    watch: impl futures_util::Stream<Item = Result<T, E>> + Send + 'static,
) -> BoxStream<'static, ()>
where
    T: Send + 'static,
{
    watch
        .default_backoff()
        .filter_map(async |event| event.inspect_err(|error| tracing::debug!(%error, "watch")).ok().map(drop))
        .boxed()
}

/// How a pass ended.
enum Done {
    /// Nothing to do now.
    AllGood,
    /// One step was done, another may follow.
    Wrote,
    /// Somebody else wrote first.
    LostRace,
}

struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    events: Events,
    resolver: CertResolver,
    want: WebhookCert,
    /// What we serve.
    last_good: Option<Set>,
    published: Option<Published>,
}

impl Keeper {
    /// Reads, serves, publishes, and takes at most one step.
    async fn pass(&mut self, now: Timestamp) -> Result<Done, String> {
        let secret =
            self.secrets.get_opt(&self.want.secret).await.map_err(|error| self.secret_error("read", &error))?;
        let state = match &secret {
            None => State::Missing,
            Some(secret) => match secret::read(secret) {
                Ok(set) => State::Good(Box::new(set)),
                Err(why) => State::Broken(why),
            },
        };
        let mut unpublished = None;
        if let State::Good(set) = &state {
            self.serve(set)?;
            if let Err(error) = self.publish(set, now).await {
                unpublished = Some(error);
            }
        }
        let step = plan::plan(&state, self.last_good.as_ref(), &self.want.dns_names, self.published.as_ref(), now);
        if step != Step::Keep {
            let done = self.take(step, &state, secret, now).await?;
            return Ok(done);
        }
        match unpublished {
            Some(error) => Err(error),
            None => Ok(Done::AllGood),
        }
    }

    fn serve(&mut self, set: &Set) -> Result<(), String> {
        if self.last_good.as_ref() != Some(set) {
            let (certificate, key) = (set.leaf.certificate.as_bytes(), set.leaf.key.as_bytes());
            self.resolver.replace_pem(certificate, key).map_err(|error| format!("cannot serve: {error}"))?;
            tracing::info!(until = %set.leaf.validity.until, "serving the webhook's certificate");
            self.last_good = Some(set.clone());
        }
        Ok(())
    }

    /// Afterwards `published` says since when all configurations have had this bundle, as far as we know.
    async fn publish(&mut self, set: &Set, now: Timestamp) -> Result<(), String> {
        let bundle = set.bundle();
        let before = self.published.take();
        let mut problems = Vec::new();
        let mut written = false;
        for configuration in &self.want.configurations {
            match bundle::publish(&self.client, configuration, &bundle).await {
                Ok(bundle::Outcome::Same) => {}
                Ok(bundle::Outcome::Written) => written = true,
                Ok(bundle::Outcome::Absent) => tracing::debug!(%configuration, "not there; its caBundle isn't written"),
                Err(error) => problems.push(error.to_string()),
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let known = before.filter(|published| published.bundle == bundle && !written);
        self.published = Some(known.unwrap_or(Published { bundle, since: now }));
        Ok(())
    }

    async fn take(&self, step: Step, state: &State, secret: Option<Secret>, now: Timestamp) -> Result<Done, String> {
        let base = match state {
            State::Good(set) => Some(&**set),
            State::Missing | State::Broken(_) => self.last_good.as_ref(),
        };
        let set =
            material::next(step, base, &self.want.dns_names, now).map_err(|error| format!("{step:?}: {error}"))?;
        let exists = secret.is_some();
        let secret = secret::write(secret.unwrap_or_default(), &self.want.secret, &set);
        let written = if exists {
            self.secrets.replace(&self.want.secret, &PostParams::default(), &secret).await
        } else {
            self.secrets.create(&PostParams::default(), &secret).await
        };
        match written {
            Ok(_) => {
                self.tell(step, state);
                Ok(Done::Wrote)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Done::LostRace),
            Err(error) => Err(self.secret_error("write", &error)),
        }
    }

    fn tell(&self, step: Step, state: &State) {
        let (kind, cause) = match state {
            State::Good(_) => (Type::Normal, String::new()),
            State::Missing if self.last_good.is_none() => (Type::Normal, " (there was no Secret)".to_owned()),
            State::Missing => (Type::Warning, " (the Secret was deleted)".to_owned()),
            State::Broken(why) => (Type::Warning, format!(" (the Secret was broken: {why})")),
        };
        let note = format!("{}{cause}", step.sentence());
        tracing::info!(secret = self.want.secret, note, "webhook certificate");
        let secret = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some(self.want.namespace.clone()),
            name: Some(self.want.secret.clone()),
            ..ObjectReference::default()
        };
        self.events.publish(secret, kind, step.reason(), "Certify", &note);
    }

    fn secret_error(&self, verb: &str, error: &kube::Error) -> String {
        format!("cannot {verb} Secret {}/{}: {}", self.want.namespace, self.want.secret, explain(error).1)
    }
}

#[cfg(test)]
mod tests;
