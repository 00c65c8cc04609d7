//! An API server for tests, in memory, as a tower service below kube's client: no sockets, so time can be paused.
//!
//! It knows what our code relies on: get, list, watch (both by `metadata.name` too), create, replace with optimistic
//! concurrency, merge patch, server-side apply (lists of named things are merged by name; field ownership isn't kept).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Value,
}

type Hook = Box<dyn Fn(&Asked) -> Option<(u16, &'static str)> + Send>;
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<Server>>);

#[derive(Default)]
struct Server {
    version: u64,
    objects: BTreeMap<String, Value>,
    requests: Vec<Asked>,
    watches: Vec<Watch>,
    hook: Option<Hook>,
    /// Clients by number, whose requests get no answer.
    cut_off: Vec<usize>,
    clients: usize,
}

struct Watch {
    collection: String,
    name: Option<String>,
    events: UnboundedSender<Bytes>,
}

impl FakeApi {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn client(&self) -> Client {
        self.numbered_client().0
    }

    /// A client, and the number by which [`cut_off`](Self::cut_off) knows it.
    pub fn numbered_client(&self) -> (Client, usize) {
        let number = {
            let mut server = self.0.lock().unwrap();
            server.clients += 1;
            server.clients
        };
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let asked = Asked {
                    method: head.method,
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let apply = head
                    .headers
                    .get("content-type")
                    .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply"));
                let answer = this.answer(number, asked, apply);
                match answer {
                    Some(answer) => Ok::<_, Infallible>(answer),
                    None => pending().await,
                }
            }
        });
        (Client::new(service, "default"), number)
    }

    /// From now on, requests of this client get no answer (and none is carried out), or they do again.
    pub fn cut_off(&self, client: usize, cut: bool) {
        let mut server = self.0.lock().unwrap();
        server.cut_off.retain(|number| *number != client);
        if cut {
            server.cut_off.push(client);
        }
    }

    /// A say on every request before it is carried out: an error's code and message.
    pub fn answer_with(&self, hook: impl Fn(&Asked) -> Option<(u16, &'static str)> + Send + 'static) {
        self.0.lock().unwrap().hook = Some(Box::new(hook));
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.0.lock().unwrap().requests.clone()
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Writes an object as somebody else would.
    pub fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().write(path, object);
    }

    pub fn delete(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }

    fn answer(&self, client: usize, asked: Asked, apply: bool) -> Option<Answer> {
        let mut server = self.0.lock().unwrap();
        if server.cut_off.contains(&client) {
            return None;
        }
        server.requests.push(asked.clone());
        if let Some((code, message)) = server.hook.as_ref().and_then(|hook| hook(&asked)) {
            return Some(failure(code, message));
        }
        Some(server.carry_out(&asked, apply))
    }
}

impl Server {
    fn carry_out(&mut self, asked: &Asked, apply: bool) -> Answer {
        let Asked { method, path, query, body } = asked;
        let (path, status) = match path.strip_suffix("/status") {
            Some(path) => (path, true),
            None => (path.as_str(), false),
        };
        let existing = self.objects.get(path).cloned();
        let sent = |body: &Value| body.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let stale = |existing: &Value| sent(body).is_some_and(|version| Some(version) != sent(existing));
        match (method.as_str(), existing) {
            ("GET", Some(object)) => success(&object),
            ("GET", None) if is_collection(path) => {
                let name = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
                if query.contains("watch=true") { self.watch(path, name) } else { self.list(path, name) }
            }
            ("POST", _) => {
                let name = body.pointer("/metadata/name").and_then(Value::as_str).expect("a name in what is created");
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return failure(409, "already exists");
                }
                success(&self.write(&path, body.clone()))
            }
            ("PUT" | "PATCH", Some(existing)) if stale(&existing) => failure(409, "the object has been modified"),
            ("PUT", Some(_)) => success(&self.write(path, body.clone())),
            ("PATCH", Some(mut existing)) => {
                merge(&mut existing, body, apply);
                success(&self.write(path, existing))
            }
            ("PATCH", None) if apply && !status => success(&self.write(path, body.clone())),
            _ => failure(404, "not found"),
        }
    }

    fn write(&mut self, path: &str, mut object: Value) -> Value {
        let (_, name) = path.rsplit_once('/').unwrap();
        let new = !self.objects.contains_key(path);
        self.version += 1;
        if object["metadata"].is_null() {
            object["metadata"] = json!({});
        }
        object["metadata"]["name"] = name.into();
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        self.tell(path, if new { "ADDED" } else { "MODIFIED" }, &object);
        object
    }

    fn remove(&mut self, path: &str) {
        if let Some(mut object) = self.objects.remove(path) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.tell(path, "DELETED", &object);
        }
    }

    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        let (collection, name) = path.rsplit_once('/').unwrap();
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.watches.retain(|watch| {
            let concerned = watch.collection == collection && watch.name.as_deref().is_none_or(|wanted| wanted == name);
            !concerned || watch.events.send(line.clone().into()).is_ok()
        });
    }

    fn list(&self, collection: &str, name: Option<&str>) -> Answer {
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, _)| {
                let (of, is) = path.rsplit_once('/').unwrap();
                of == collection && name.is_none_or(|wanted| wanted == is)
            })
            .map(|(_, object)| object)
            .collect();
        success(&json!({"kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
    }

    fn watch(&mut self, collection: &str, name: Option<&str>) -> Answer {
        let (events, receiver) = unbounded_channel();
        self.watches.push(Watch { collection: collection.to_owned(), name: name.map(str::to_owned), events });
        let lines = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let frames = lines.map(|line| Ok::<_, Infallible>(http_body::Frame::data(line)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// `/api/v1/namespaces/<ns>/<plural>` and `/apis/<group>/<version>/<plural>` end in what is no object's name.
fn is_collection(path: &str) -> bool {
    ["secrets", "leases", "events", "configmaps", "mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
        .iter()
        .any(|plural| path.ends_with(&format!("/{plural}")))
}

fn success(object: &Value) -> Answer {
    Response::new(Full::from(object.to_string()).boxed_unsync())
}

fn failure(code: u16, message: &str) -> Answer {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    let mut answer = success(&status);
    *answer.status_mut() = code.try_into().unwrap();
    answer
}

fn merge(onto: &mut Value, from: &Value, by_name: bool) {
    match (onto, from) {
        (Value::Object(onto), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    onto.remove(key);
                } else {
                    merge(onto.entry(key).or_insert(Value::Null), value, by_name);
                }
            }
        }
        (Value::Array(onto), Value::Array(from)) if by_name && from.iter().all(|item| item["name"].is_string()) => {
            for item in from {
                match onto.iter_mut().find(|known| known["name"] == item["name"]) {
                    Some(known) => merge(known, item, by_name),
                    None => onto.push(item.clone()),
                }
            }
        }
        (onto, from) => *onto = from.clone(),
    }
}
