//! The running proxy: everything is bound, then the workers run in threads of their own, and this thread serves the admin
//! port, health and probes and watches the configuration, so that load can't fail a liveness probe.

use crate::admin::{Subjects, Tables};
use crate::config::{Config, Source};
use crate::drain::Drain;
use crate::settings::Options;
use anyhow::{Context as _, bail};
use mesh_config::names;
use mesh_runtime::admin;
use mesh_runtime::logs::LevelHandle;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::signals::Shutdown;
use proxy_core::addr::OriginalDst;
use proxy_core::app::{self, Addresses, App};
use proxy_core::telemetry::Telemetry;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long pages under way may take in the end. A scrape that began in time should still get the last numbers.
const LAST_PAGES: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    pub outbound: Vec<SocketAddr>,
    pub inbound: Vec<SocketAddr>,
    pub admin: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
    pub health: Vec<SocketAddr>,
}

impl Default for Listen {
    /// The product's ports.
    fn default() -> Self {
        let both = |v4: Ipv4Addr, v6: Ipv6Addr, port| {
            [v4.into(), v6.into()].map(|ip: IpAddr| SocketAddr::new(ip, port)).to_vec()
        };
        let (v4, v6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        Listen {
            // one socket for both families
            outbound: vec![(v6, names::PORT_OUTBOUND).into()],
            inbound: vec![(v6, names::PORT_INBOUND).into()],
            admin: both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, names::PORT_ADMIN),
            metrics: both(v4, v6, names::PORT_METRICS),
            health: both(v4, v6, names::PORT_HEALTH),
        }
    }
}

/// Everything bound, nothing running.
pub struct Proxy {
    options: Options,
    app: App,
    telemetry: Arc<Telemetry>,
    admin: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    health: Vec<TcpListener>,
}

impl Proxy {
    /// Binds all ports, or none.
    pub fn bind(options: Options, listen: Listen, original_dst: Arc<dyn OriginalDst>) -> anyhow::Result<Proxy> {
        let telemetry = Telemetry::new();
        let app = App::bind(app::Config {
            outbound: listen.outbound,
            inbound: listen.inbound,
            workers: options.workers,
            original_dst,
            telemetry: Arc::clone(&telemetry),
        })?;
        Ok(Proxy {
            options,
            app,
            telemetry,
            admin: admin::bind(&listen.admin)?,
            metrics: admin::bind(&listen.metrics)?,
            health: admin::bind(&listen.health)?,
        })
    }

    /// Where the data plane really listens.
    pub fn addresses(&self) -> &Addresses {
        self.app.addresses()
    }

    /// Where the admin, metrics and health ports really are, each its first.
    pub fn pages(&self) -> anyhow::Result<[SocketAddr; 3]> {
        let first =
            |listeners: &[TcpListener]| anyhow::Ok(listeners.first().context("nothing is bound")?.local_addr()?);
        Ok([first(&self.admin)?, first(&self.metrics)?, first(&self.health)?])
    }

    /// Runs until `shutdown`, then drains and stops. Access log lines go to `log`.
    pub async fn run(
        self,
        shutdown: Shutdown,
        log_level: Option<LevelHandle>,
        log: impl Write + Send + 'static,
    ) -> anyhow::Result<()> {
        let Proxy { options, app, telemetry, admin, metrics, health } = self;
        let lines = telemetry.write_lines_to(log).context("starting the access log's thread")?;
        let readiness = Readiness::new();
        let config = Config::new(&options);
        let handle = app.handle();
        let limit = options.settings.proxy.drain_duration.as_std();
        let drain = Drain::new(handle.clone(), readiness.gate("drain"), limit);
        let gate = readiness.gate("configuration");
        let source = Source::new(&options, config.clone(), Arc::clone(&telemetry), gate, move |snapshot| {
            handle.update(Arc::new(snapshot));
        });
        let subjects = Subjects { config, drain: drain.clone(), telemetry, readiness, log_level };
        let tables = Tables::new(&options, subjects);

        let running = app.run().context("starting the workers")?;
        let pages = Shutdown::new();
        let mut serving = JoinSet::new();
        for (listeners, table) in [(admin, tables.admin), (metrics, tables.metrics), (health, tables.health)] {
            serving.spawn(admin::serve(listeners, table, pages.clone()));
        }
        let source = tokio::spawn(source.run());

        let mut ended = pin!(running.ended());
        tokio::select! {
            () = shutdown.requested() => {}
            () = ended.as_mut() => bail!("all workers have ended; the log says why"),
        }
        drain.finish().await;
        ended.await;
        source.abort();
        pages.trigger();
        // what hasn't ended then is dropped with the runtime
        let _ = timeout(LAST_PAGES, async { while serving.join_next().await.is_some() {} }).await;
        lines.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
