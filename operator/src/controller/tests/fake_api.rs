//! An API server for tests, in memory, as a tower service below kube's client: no sockets, so time can be paused.
//!
//! It knows what the operator relies on: lists and watches of one namespace or all, by `metadata.name` or by a label
//! that is there; server-side apply (without ownership of fields), of a status too; deletion with preconditions; Events.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A write that was asked for, whether it was carried out or not.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Such as `PATCH configmaps shop/outrigger-proxy-config`, with `/status` where it is about that.
    pub what: String,
    pub query: String,
    pub body: Value,
}

type Hook = Box<dyn Fn(&str) -> Option<(u16, &'static str)> + Send>;
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<Server>>);

#[derive(Default)]
struct Server {
    version: u64,
    objects: BTreeMap<Place, Value>,
    asked: Vec<Asked>,
    watches: Vec<(Which, UnboundedSender<Bytes>)>,
    hook: Option<Hook>,
}

/// Where an object is: plural, namespace (empty for none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    plural: String,
    namespace: String,
    name: String,
}

/// What a list or watch is about.
struct Which {
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
    label: Option<String>,
}

impl Which {
    fn takes(&self, place: &Place, object: &Value) -> bool {
        self.plural == place.plural
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == place.namespace)
            && self.name.as_ref().is_none_or(|name| *name == place.name)
            && self.label.as_ref().is_none_or(|label| !object["metadata"]["labels"][label].is_null())
    }
}

impl FakeApi {
    /// With these objects, each with apiVersion left out.
    pub fn new(yaml: &str) -> Self {
        let api = Self::default();
        for object in crate::testing::objects(yaml) {
            api.put(object);
        }
        api
    }

    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let query = head.uri.query().unwrap_or_default().replace("%3D", "=").replace("%2F", "/");
                Ok::<_, Infallible>(this.0.lock().unwrap().answer(&head.method, head.uri.path(), &query, body))
            }
        });
        Client::new(service, "default")
    }

    /// A say on every request (`LIST pods`, `PATCH configmaps shop/…`) before it is carried out.
    pub fn answer_with(&self, hook: impl Fn(&str) -> Option<(u16, &'static str)> + Send + 'static) {
        self.0.lock().unwrap().hook = Some(Box::new(hook));
    }

    /// What was asked for since this was last called, Events left out.
    pub fn take_asked(&self) -> Vec<Asked> {
        self.take(|asked| !asked.what.starts_with("POST events"))
    }

    fn take(&self, wanted: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let mut server = self.0.lock().unwrap();
        let (taken, left) = server.asked.drain(..).partition(wanted);
        server.asked = left;
        taken
    }

    /// The Events of which nobody has taken notice yet, as `OBJECT REASON`.
    pub fn take_events(&self) -> Vec<String> {
        let events = self.take(|asked| asked.what.starts_with("POST events"));
        let line = |asked: Asked| {
            let of = &asked.body["regarding"];
            [&of["kind"], &of["namespace"], &of["name"], &asked.body["reason"]]
                .map(|v| v.as_str().unwrap_or("-"))
                .join(" ")
        };
        events.into_iter().map(line).collect()
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(&place(plural, namespace, name)).cloned()
    }

    /// As anybody may.
    pub fn put(&self, mut object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let plural = match object["kind"].as_str().unwrap() {
            "MeshPolicy" => "meshpolicies".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let place = place(&plural, &text("namespace"), &text("name"));
        object["apiVersion"] = if plural == "meshpolicies" { "outrigger.dev/v1alpha1" } else { "v1" }.into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", place.name).into();
        }
        if plural == "meshpolicies" && object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = 1.into();
        }
        self.0.lock().unwrap().write(place, object);
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        self.0.lock().unwrap().remove(&place(plural, namespace, name));
    }

    /// Ends every watch of a resource with "too old": its watcher lists anew.
    pub fn expire(&self, plural: &str) {
        let status =
            json!({"kind": "Status", "code": 410, "status": "Failure", "reason": "Expired", "message": "too old"});
        let line = format!("{}\n", json!({"type": "ERROR", "object": status}));
        let mut server = self.0.lock().unwrap();
        server.watches.retain(|(which, events)| which.plural != plural || events.send(line.clone().into()).is_err());
    }
}

fn place(plural: &str, namespace: &str, name: &str) -> Place {
    Place { plural: plural.into(), namespace: namespace.into(), name: name.into() }
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: Value) -> Answer {
        let mut parts: Vec<&str> = path.split('/').skip(1).collect();
        parts.drain(..if parts[0] == "api" { 2 } else { 3 });
        let status = parts.len() > 3 && parts.last() == Some(&"status");
        if status {
            parts.pop();
        }
        let (plural, namespace, name) = match parts[..] {
            [plural] => (plural, None, None),
            ["namespaces", name] => ("namespaces", None, Some(name)),
            ["namespaces", namespace, plural] => (plural, Some(namespace), None),
            ["namespaces", namespace, plural, name] => (plural, Some(namespace), Some(name)),
            _ => panic!("no such path: {path}"),
        };
        let Some(name) = name.filter(|_| method != Method::GET) else {
            if method == Method::POST {
                let what = format!("POST {plural} {}", namespace.unwrap_or_default());
                return self.carry_out(what, query, body, |_, body| Ok(body));
            }
            let pair = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)).map(str::to_owned);
            let which = Which {
                plural: plural.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: pair("fieldSelector=metadata.name="),
                label: pair("labelSelector="),
            };
            let watch = query.contains("watch=true");
            if let Some((code, message)) = self.hooked(&format!("{} {plural}", if watch { "WATCH" } else { "LIST" })) {
                return failure(code, message);
            }
            return if watch { self.watch(which) } else { self.list(&which) };
        };
        let place = place(plural, namespace.unwrap_or_default(), name);
        let what = format!("{method} {plural} {}/{name}{}", place.namespace, if status { "/status" } else { "" });
        match *method {
            Method::PATCH => self.carry_out(what, query, body, |server, body| server.apply(place, body, status)),
            Method::DELETE => self.carry_out(what, query, body, |server, body| server.delete(&place, &body)),
            _ => panic!("nobody should {method} {path}"),
        }
    }

    fn hooked(&self, what: &str) -> Option<(u16, &'static str)> {
        self.hook.as_ref().and_then(|hook| hook(what))
    }

    fn carry_out(
        &mut self,
        what: String,
        query: &str,
        body: Value,
        act: impl FnOnce(&mut Self, Value) -> Result<Value, (u16, &'static str)>,
    ) -> Answer {
        let hooked = self.hooked(&what);
        self.asked.push(Asked { what, query: query.to_owned(), body: body.clone() });
        match hooked.map_or_else(|| act(self, body), Err) {
            Ok(object) => success(&object),
            Err((code, message)) => failure(code, message),
        }
    }

    fn apply(&mut self, place: Place, body: Value, status: bool) -> Result<Value, (u16, &'static str)> {
        let existing = self.objects.get(&place).cloned();
        let mut object = match existing.clone() {
            Some(existing) => existing,
            None if status => return Err((404, "not found")),
            None => json!({"metadata": {"uid": format!("uid-{}", place.name)}}),
        };
        let uid = &body["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return Err((409, "the uid is another"));
        }
        if status {
            object["status"] = body["status"].clone();
        } else {
            for (key, value) in body.as_object().unwrap() {
                if key != "metadata" {
                    object[key] = value.clone();
                }
            }
            for (key, value) in body["metadata"].as_object().unwrap() {
                object["metadata"][key] = value.clone();
            }
        }
        // a write that changes nothing is none
        if existing.as_ref() == Some(&object) { Ok(object) } else { Ok(self.write(place, object)) }
    }

    fn delete(&mut self, place: &Place, body: &Value) -> Result<Value, (u16, &'static str)> {
        let existing = self.objects.get(place).ok_or((404, "not found"))?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &body["preconditions"][field];
            if !wanted.is_null() && *wanted != existing["metadata"][field] {
                return Err((409, "a precondition failed"));
            }
        }
        self.remove(place);
        Ok(json!({"kind": "Status", "status": "Success"}))
    }

    fn write(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let new = self.objects.insert(place.clone(), object.clone()).is_none();
        self.tell(&place, if new { "ADDED" } else { "MODIFIED" }, &object);
        object
    }

    fn remove(&mut self, place: &Place) {
        if let Some(mut object) = self.objects.remove(place) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.tell(place, "DELETED", &object);
        }
    }

    fn tell(&mut self, place: &Place, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.watches.retain(|(which, events)| !which.takes(place, object) || events.send(line.clone().into()).is_ok());
    }

    fn list(&self, which: &Which) -> Answer {
        let items = self.objects.iter().filter(|(place, object)| which.takes(place, object)).map(|(_, object)| object);
        let items: Vec<&Value> = items.collect();
        success(&json!({"kind": "List", "metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
    }

    fn watch(&mut self, which: Which) -> Answer {
        let (events, receiver) = unbounded_channel();
        self.watches.push((which, events));
        let lines = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        Response::new(
            StreamBody::new(lines.map(|line| Ok::<_, Infallible>(http_body::Frame::data(line)))).boxed_unsync(),
        )
    }
}

fn success(object: &Value) -> Answer {
    Response::new(Full::from(object.to_string()).boxed_unsync())
}

fn failure(code: u16, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Test", "message": message});
    let mut answer = success(&status);
    *answer.status_mut() = code.try_into().unwrap();
    answer
}
