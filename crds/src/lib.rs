//! `MeshPolicy` (`outrigger.dev/v1alpha1`), the one resource that people write: its types, its schema, the checks that
//! need no cluster, and the reading that an operator trusts.
//!
//! Three ways in, for three callers:
//! - [`crd`] and [`crd_yaml`]: what is installed. The derives give shape, bounds, list types and CEL rules;
//!   `schema.rs` finishes what they can't say.
//! - [`check()`]: a policy that was built or parsed here. It repeats the whole schema in Rust, and adds what CEL can't
//!   tell (regular expressions, the access log's filter).
//! - [`read`]: a policy as somebody stored it. It never fails as a whole: a broken section counts as absent, a rule of
//!   `authorization` that isn't fully understood takes its strict reading.
//!
//! What is deliberately absent: a client, the objects that a policy points at, merging of policies (the operator's).
//! A section enters the types in the change that enforces it, so that nothing is accepted and then ignored.

pub mod authorization;
pub mod check;
pub mod parse;
pub mod policy;
pub mod problem;
pub mod protocol;
pub mod route;
pub mod scalars;
pub mod schema;
mod shape;
pub mod status;
pub mod target;
pub mod telemetry;

pub use authorization::{Action, AuthRule, Authorization, NotPeer, Operation, PathMatch, Peer, Verdict};
pub use check::check;
pub use parse::{AuthorizationReading, Reading, RuleReading, Section, read};
pub use policy::{MeshPolicy, MeshPolicySpec, Mode};
pub use problem::{Problem, ProblemKind};
pub use protocol::{PortProtocol, ProtocolPort, ProtocolSection};
pub use route::{BackendRef, HeaderMatch, QueryParamMatch, Route, RouteMatch, Timeouts};
pub use schema::{crd, crd_yaml};
pub use status::{Conflict, MeshPolicyStatus, Summary, TargetStatus};
pub use target::{PodSelector, Target, TargetKind, TargetRef};
pub use telemetry::{AccessLog, LogFormat, Telemetry};
