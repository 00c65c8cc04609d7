//! One Pod through the whole of it: decide, merge the settings, plan, patch. Pure; the webhook, the operator and
//! `outrigger inject` call the same function.

use crate::decide::{Verdict, decide};
use crate::patch::Edit;
use crate::plan::Plan;
use crate::view::{NamespaceView, Pod};
use crate::{Reason, check, compare, existing, settings};
use json_patch::Patch;
use mesh_config::{Mesh, Problems};
use serde::Deserialize;
use serde_json::Value;

/// What comes of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The row of the decision table that held.
    pub reason: Reason,
    pub decision: Decision,
    /// For the person who made the Pod; whatever the decision.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Unchanged,
    /// Never empty, and seen to apply to this Pod.
    Patch(Patch),
    Refused(Problems),
}

/// What isn't a decision but a fault: of the input, or of ours.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this is not a Pod that can be read: {0}")]
    NotAPod(#[from] serde_json::Error),
    #[error("the patch does not apply to the Pod, which is a fault of the injector: {0}")]
    Patch(#[from] json_patch::PatchError),
}

/// Decides about a Pod, and says how to change it. For Pods that were injected before, also after the API server has
/// filled in its defaults, nothing is changed if nothing has changed.
pub fn inject(pod: &Value, namespace: &NamespaceView, mesh: &Mesh) -> Result<Outcome, Error> {
    let view = Pod::deserialize(pod)?;
    let mut warnings = Vec::new();
    let (reason, decision) = match decide(&view, namespace, mesh, &mut warnings) {
        Verdict::Leave(reason) => (reason, Decision::Unchanged),
        Verdict::Refuse(reason, problems) => (reason, Decision::Refused(problems)),
        Verdict::Inject(reason) => {
            let mut edit = Edit::new(pod);
            match plan(&view, namespace, mesh, &mut warnings) {
                Ok(plan) => {
                    plan.put_in(&mut edit)?;
                    (reason, Decision::Patch(edit.finish().0))
                }
                Err(problems) => (reason, Decision::Refused(problems)),
            }
        }
        Verdict::Replan => again(pod, &view, namespace, mesh, &mut warnings)?,
    };
    Ok(Outcome { reason, decision, warnings })
}

/// Takes our parts out of a Pod; unchanged where there are none, refused where they can't be read.
pub fn uninject(pod: &Value) -> Result<Decision, Error> {
    let view = Pod::deserialize(pod)?;
    if !existing::is_ours(&view) {
        return Ok(Decision::Unchanged);
    }
    let probes = match existing::original_probes(&view) {
        Ok(probes) => probes,
        Err(problems) => return Ok(Decision::Refused(problems)),
    };
    let mut edit = Edit::new(pod);
    existing::take_out(&mut edit, &view, &probes)?;
    Ok(Decision::Patch(edit.finish().0))
}

/// Our parts are in the Pod: what would it be without them, and then with them planned anew?
fn again(
    pod: &Value,
    view: &Pod,
    namespace: &NamespaceView,
    mesh: &Mesh,
    warnings: &mut Vec<String>,
) -> Result<(Reason, Decision), Error> {
    let probes = match existing::original_probes(view) {
        Ok(probes) => probes,
        Err(problems) => return Ok((Reason::Reinjected, Decision::Refused(problems))),
    };
    let mut edit = Edit::new(pod);
    existing::take_out(&mut edit, view, &probes)?;
    let original = Pod::deserialize(edit.document())?;
    let plan = match plan(&original, namespace, mesh, warnings) {
        Ok(plan) => plan,
        Err(problems) => return Ok((Reason::Reinjected, Decision::Refused(problems))),
    };
    plan.put_in(&mut edit)?;
    let (patch, planned) = edit.finish();
    if compare::settled(pod, &planned) {
        Ok((Reason::AlreadyInjected, Decision::Unchanged))
    } else {
        Ok((Reason::Reinjected, Decision::Patch(patch)))
    }
}

/// `pod` is without our parts.
fn plan(pod: &Pod, namespace: &NamespaceView, mesh: &Mesh, warnings: &mut Vec<String>) -> Result<Plan, Problems> {
    let mut problems = Problems::default();
    let merged = settings::merge(mesh, namespace, pod, &mut problems, warnings);
    check::problems(pod, &mut problems);
    problems.or(())?;
    warnings.extend(check::warnings(namespace, &merged.settings));
    Ok(Plan::new(pod, merged, mesh, warnings))
}
