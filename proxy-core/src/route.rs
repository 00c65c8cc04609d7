//! Which route a request takes. Pure: compiled once per document, then asked per request.
//!
//! Precedence is Gateway API's (HTTPRouteRule, `matches`): exact path, then regular expressions, then the longest
//! prefix; then a method; then the most headers; then the most query parameters; then the route's name. (Where regular
//! expressions stand is left open by Gateway API; among them the longest wins.) `table::Rank` is that order.
//!
//! Paths are compared as they are in the request, undecoded and undissolved: choosing a route guards nothing. What
//! guards, `policy::authz`, looks closer.
//!
//! The cost doesn't grow with the number of routes of different paths: exact paths and prefixes are looked up by hash,
//! prefixes once per segment of the request's path. It grows with regular expressions, and with routes of the same path.

mod table;
#[cfg(test)]
mod tests;
mod value;

use crate::snapshot::Cluster;
use crate::telemetry::next_id;
use http::request::Parts;
use mesh_config::{Problems, proxy};
use std::{collections::HashMap, sync::Arc, time::Duration};
use table::Table;

/// The routes of one Service port.
#[derive(Debug, Default)]
pub struct Routes {
    table: Table,
}

/// What happens to the requests that a route matched.
#[derive(Debug)]
pub struct Route {
    pub(crate) id: u32,
    pub name: Arc<str>,
    pub timeouts: Timeouts,
    /// Each with the sum of the weights up to and with its own. Empty: the Service itself.
    backends: Vec<(u64, Arc<Cluster>)>,
}

/// How long things may take; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's head to the end of the answer, all tries together.
    pub request: Option<Duration>,
    /// One try: from sending it to the head of the answer.
    pub backend_request: Option<Duration>,
    /// Silence on the stream in both directions; never for upgraded connections.
    pub idle: Option<Duration>,
}

impl Default for Timeouts {
    /// What holds without a route: design 6, "HTTP stream idle 300 s", all else off.
    fn default() -> Self {
        Timeouts { request: None, backend_request: None, idle: Some(Duration::from_secs(300)) }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// To where it was going: its original destination.
    Service,
    Cluster(&'a Arc<Cluster>),
}

impl Routes {
    /// Compiles them. `path` is the field that they stand in, for problems.
    pub(crate) fn new(
        path: &str,
        routes: &[proxy::Route],
        clusters: &HashMap<&str, Arc<Cluster>>,
        problems: &mut Problems,
    ) -> Routes {
        let mut table = Table::default();
        for (index, route) in routes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let compiled = Arc::new(Route::new(&path, route, clusters, problems));
            if route.matches.is_empty() {
                // Gateway API: every request, as a prefix match on "/"
                table.add(&path, &proxy::RouteMatch::default(), &compiled, problems);
            }
            for (index, route_match) in route.matches.iter().enumerate() {
                table.add(&format!("{path}.matches[{index}]"), route_match, &compiled, problems);
            }
        }
        table.sort();
        Routes { table }
    }

    /// No routes: everything goes to the Service itself.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The route that matches best, if any does. A request without one goes to the Service as if there were no routes.
    pub fn find(&self, request: &Parts) -> Option<&Arc<Route>> {
        if self.is_empty() { None } else { self.table.find(&request.method, &request.uri, &request.headers) }
    }
}

impl Route {
    fn new(path: &str, route: &proxy::Route, clusters: &HashMap<&str, Arc<Cluster>>, problems: &mut Problems) -> Route {
        let (mut total, mut backends) = (0, Vec::new());
        for (index, backend) in route.backends.iter().enumerate() {
            match clusters.get(backend.cluster.as_str()) {
                Some(cluster) => {
                    total += u64::from(backend.weight);
                    backends.push((total, Arc::clone(cluster)));
                }
                None => problems.add(
                    format!("{path}.backends[{index}].cluster"),
                    format!("{:?} is not in clusters", backend.cluster),
                ),
            }
        }
        let timeouts = &route.timeouts;
        let nonzero = |timeout: Option<mesh_config::Duration>| timeout.and_then(mesh_config::Duration::nonzero);
        Route {
            id: next_id(),
            name: route.name.as_str().into(),
            timeouts: Timeouts {
                request: nonzero(timeouts.request),
                backend_request: nonzero(timeouts.backend_request),
                idle: timeouts.idle.map_or(Timeouts::default().idle, mesh_config::Duration::nonzero),
            },
            backends,
        }
    }

    /// A backend by weight. `random` is evenly distributed over all of `u32`.
    pub fn backend(&self, random: u32) -> Target<'_> {
        let Some((total, last)) = self.backends.last() else { return Target::Service };
        // a share of `total` as large as `random`'s share of all numbers: no modulo, no bias worth naming
        let point = u64::try_from((u128::from(random) * u128::from(*total)) >> 32).unwrap_or_default();
        let index = self.backends.partition_point(|(up_to, _)| *up_to <= point);
        Target::Cluster(self.backends.get(index).map_or(last, |(_, cluster)| cluster))
    }
}
