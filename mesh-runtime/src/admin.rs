//! The admin port: one table makes the routes, the index page, and what a 404 says.
//!
//! HTTP/1.1 by hyper, on whichever runtime calls [`serve`]. Slow or greedy callers are bounded: a head and a body must
//! arrive within 10 s, a body is at most 64 KiB, a kept connection idles for 10 s at most, and the port has at most 64
//! connections. Paths are matched whole; there are no patterns, because an admin port has a dozen pages.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use crate::listen::{BindError, bind};
use crate::logs::LevelHandle;
use crate::readiness::Readiness;
use crate::signals::Shutdown;

const BODY_LIMIT: usize = 64 * 1024;
const CONNECTIONS: usize = 64;
/// For a head, for a body, and for the pause between two requests: people and scrapers need milliseconds.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers under way may take once shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);

type Answer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;
type Handler = Arc<dyn Fn(Request<Bytes>) -> Answer + Send + Sync>;

/// What an admin port answers.
#[derive(Clone, Default)]
pub struct Table {
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: &'static str,
    help: &'static str,
    handler: Handler,
}

/// What a method and a path lead to.
enum Found {
    Handler(Handler),
    /// The index, or why there is no handler.
    Page(Response<Bytes>),
}

impl Table {
    /// Only the index page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET (and HEAD). `help` says in a few words what the page is for.
    #[must_use]
    pub fn get<F, Fut>(self, path: &'static str, help: &'static str, handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Bytes>> + Send + 'static,
    {
        self.route(Method::GET, path, help, handler)
    }

    /// Answers POST: everything that changes something.
    #[must_use]
    pub fn post<F, Fut>(self, path: &'static str, help: &'static str, handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Bytes>> + Send + 'static,
    {
        self.route(Method::POST, path, help, handler)
    }

    /// This table and another one. Of two routes for the same path and method, the later one is kept.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for route in other.routes {
            self.add(route);
        }
        self
    }

    fn route<F, Fut>(mut self, method: Method, path: &'static str, help: &'static str, handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.add(Route { method, path, help, handler });
        self
    }

    fn add(&mut self, route: Route) {
        self.routes.retain(|known| (known.path, &known.method) != (route.path, &route.method));
        self.routes.push(route);
    }

    /// The index: a line for each route.
    fn index(&self) -> String {
        let width = self.routes.iter().map(|route| route.path.len()).max().unwrap_or_default();
        let mut page = String::new();
        for Route { method, path, help, .. } in &self.routes {
            // Writing to a String can't fail.
            let _ = writeln!(page, "{:<5} {path:<width$}  {help}", method.as_str());
        }
        page
    }

    fn find(&self, method: &Method, path: &str) -> Found {
        // hyper leaves out the body of an answer to HEAD.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut allowed = Vec::new();
        for route in self.routes.iter().filter(|route| route.path == path) {
            if route.method == *method {
                return Found::Handler(Arc::clone(&route.handler));
            }
            allowed.push(route.method.as_str());
        }
        if path == "/" && allowed.is_empty() {
            let page = self.index();
            return Found::Page(match *method {
                Method::GET => text(StatusCode::OK, page),
                _ => not_allowed("GET"),
            });
        }
        if allowed.is_empty() {
            let page = format!("there is no {path} here; there is:\n{}", self.index());
            return Found::Page(text(StatusCode::NOT_FOUND, page));
        }
        Found::Page(not_allowed(&allowed.join(", ")))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Bytes> {
        let handler = match self.find(request.method(), request.uri().path()) {
            Found::Handler(handler) => handler,
            Found::Page(page) => return page,
        };
        let (head, body) = request.into_parts();
        match timeout(READ_TIMEOUT, Limited::new(body, BODY_LIMIT).collect()).await {
            Ok(Ok(body)) => handler(Request::from_parts(head, body.to_bytes())).await,
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                closing(text(StatusCode::PAYLOAD_TOO_LARGE, "a body may have 64 KiB\n"))
            }
            Ok(Err(error)) => closing(text(StatusCode::BAD_REQUEST, format!("the body is broken: {error}\n"))),
            Err(_) => closing(text(StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 s\n")),
        }
    }
}

/// A page of plain text.
pub fn text(status: StatusCode, page: impl Into<Bytes>) -> Response<Bytes> {
    page_of("text/plain; charset=utf-8", status, page.into())
}

/// A page of JSON, already written.
pub fn json(status: StatusCode, page: impl Into<Bytes>) -> Response<Bytes> {
    page_of("application/json", status, page.into())
}

fn page_of(content_type: &'static str, status: StatusCode, page: Bytes) -> Response<Bytes> {
    let mut response = Response::new(page);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(allowed: &str) -> Response<Bytes> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} here\n"));
    if let Ok(value) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// What remains of the request is not worth reading.
fn closing(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `/healthz`: alive; `/healthz/ready`: 200, or 503 with every reason.
pub fn health_routes(readiness: &Readiness) -> Table {
    let readiness = readiness.clone();
    Table::new().get("/healthz", "is this process alive", |_| async { text(StatusCode::OK, "ok\n") }).get(
        "/healthz/ready",
        "is it ready, and if not, why",
        move |_| {
            let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let page = text(status, readiness.report());
            async move { page }
        },
    )
}

/// `/log_level`: GET says it, POST sets it to the body (`curl --data debug …/log_level`).
pub fn log_level_routes(level: &LevelHandle) -> Table {
    let (getter, setter) = (level.clone(), level.clone());
    Table::new()
        .get("/log_level", "the log level in force", move |_| {
            let page = text(StatusCode::OK, format!("{}\n", getter.get()));
            async move { page }
        })
        .post("/log_level", "set it to the body: a level, or a list such as info,kube=debug", move |request| {
            let page = match str::from_utf8(request.body()).map(str::trim).map(|wanted| setter.set(wanted)) {
                Ok(Ok(())) => text(StatusCode::OK, format!("{}\n", setter.get())),
                Ok(Err(error)) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                Err(error) => text(StatusCode::BAD_REQUEST, format!("the body is no text: {error}\n")),
            };
            async move { page }
        })
}

/// Serves the table on every listener until `shutdown`; answers under way are finished.
pub async fn serve(listeners: Vec<TcpListener>, table: Table, shutdown: Shutdown) -> io::Result<()> {
    let table = Arc::new(table);
    let stop = shutdown.clone();
    crate::listen::serve(listeners, CONNECTIONS, DRAIN, &shutdown, move |stream, peer| {
        connection(stream, peer, Arc::clone(&table), stop.clone())
    })
    .await
}

async fn connection(stream: TcpStream, peer: SocketAddr, table: Arc<Table>, shutdown: Shutdown) {
    let service = service_fn(|request| {
        let table = Arc::clone(&table);
        async move { Ok::<_, Infallible>(table.answer(request).await.map(Full::new)) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper starts this clock for the pause between two requests too.
            .header_read_timeout(READ_TIMEOUT)
            .max_buf_size(BODY_LIMIT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "admin connection ended");
    }
}

#[cfg(test)]
mod tests;
