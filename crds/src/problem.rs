//! What is wrong with a policy: where, and what to do about it.

use std::fmt;

/// One problem of a policy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The field's path in the object, such as `spec.routes[0].timeouts.request`.
    pub path: String,
    /// What is wrong, with the value, and what to write instead.
    pub message: String,
    pub kind: ProblemKind,
}

/// Becomes the `reason` of `Accepted=False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum ProblemKind {
    /// A value that can't be meant.
    Invalid,
    /// A field that this version doesn't know: a typing error, or a newer policy.
    UnknownField,
}

impl Problem {
    pub fn invalid(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Problem { path: path.into(), message: message.to_string(), kind: ProblemKind::Invalid }
    }

    pub fn unknown_field(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Problem { path: path.into(), message: message.to_string(), kind: ProblemKind::UnknownField }
    }
}

impl ProblemKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            ProblemKind::Invalid => "Invalid",
            ProblemKind::UnknownField => "UnknownField",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl From<Problem> for mesh_config::Problem {
    fn from(problem: Problem) -> Self {
        mesh_config::Problem { path: problem.path, message: problem.message }
    }
}
