//! Every case under `testdata/inject`: what comes out, that injecting again changes nothing, and that taking out gives
//! back what was.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy.toml exempts only inside #[test]

mod support;

use injector::{Decision, Outcome, Reason, uninject};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::{fs, path::Path};
use support::api_server::{drop_empty, returned};
use support::cases::{self, Case, patched};

#[test]
fn every_case_gives_its_golden() {
    let mut differ = Vec::new();
    for case in cases::all() {
        let outcome = case.inject(&case.pod);
        let pod = match outcome.decision {
            Decision::Patch(_) => Some(serde_saphyr::to_string(&patched(&case.pod, &outcome)).unwrap()),
            _ => None,
        };
        for (file, text) in [("patched.yaml", pod), ("report.txt", Some(report(&outcome)))] {
            if !holds(&case.dir.join(file), text.as_deref()) {
                differ.push(format!("{}/{file}", case.name));
            }
        }
    }
    assert!(differ.is_empty(), "{differ:?} differ; UPDATE_GOLDEN=1 writes them anew, then read the diff");
}

fn holds(path: &Path, text: Option<&str>) -> bool {
    let standing = fs::read_to_string(path).ok();
    if standing.as_deref() == text {
        return true;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        return false;
    }
    match text {
        Some(text) => fs::write(path, text).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    true
}

fn report(outcome: &Outcome) -> String {
    let mut report = format!("reason: {} ({})\n", outcome.reason, outcome.reason.sentence());
    let decision = match &outcome.decision {
        Decision::Unchanged => "unchanged".to_owned(),
        Decision::Patch(patch) => format!("patched, operations: {}", patch.len()),
        Decision::Refused(problems) => format!("refused, problems: {}", problems.0.len()),
    };
    writeln!(report, "decision: {decision}").unwrap();
    if let Decision::Refused(problems) = &outcome.decision {
        problems.0.iter().for_each(|problem| writeln!(report, "problem: {problem}").unwrap());
    }
    outcome.warnings.iter().for_each(|warning| writeln!(report, "warning: {warning}").unwrap());
    report
}

/// Cases that are injected, with what comes out of the input as a person writes it, and as the API server sends it.
fn injected() -> Vec<(Case, Value, Value)> {
    let all = cases::all().into_iter().filter_map(|case| {
        let outcome = case.inject(&case.pod);
        let as_sent = returned(&case.pod);
        matches!(outcome.decision, Decision::Patch(_))
            .then(|| (patched(&case.pod, &outcome), patched(&as_sent, &case.inject(&as_sent))))
            .map(|(offline, sent)| (case, offline, sent))
    });
    all.collect()
}

#[test]
fn injecting_again_changes_nothing_also_after_the_api_server_has_filled_in_its_defaults() {
    for (case, offline, sent) in injected() {
        for pod in [offline.clone(), returned(&offline), sent.clone(), returned(&sent)] {
            let again = case.inject(&pod);
            assert_eq!((again.reason, again.decision), (Reason::AlreadyInjected, Decision::Unchanged), "{}", case.name);
        }
    }
}

#[test]
fn taking_out_gives_back_what_was() {
    let without = |pod: &Value| {
        let Decision::Patch(patch) = uninject(pod).unwrap() else { panic!("nothing was taken out") };
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(uninject(&pod).unwrap(), Decision::Unchanged);
        drop_empty(&mut pod);
        pod
    };
    for (case, offline, sent) in injected().into_iter().filter(|(case, ..)| case.name != "reinjected") {
        let mut before = case.pod.clone();
        drop_empty(&mut before);
        assert_eq!(without(&offline), before, "{}", case.name);
        let before = returned(&case.pod);
        assert_eq!(returned(&without(&sent)), before, "{}", case.name);
        assert_eq!(returned(&without(&returned(&sent))), before, "{}", case.name);
    }
}

#[test]
fn what_another_webhook_puts_between_or_into_ours_is_put_right_again() {
    type Meddle = fn(&mut Value);
    let meddlers: [Meddle; 4] = [
        |pod| {
            let other = json!({"name": "other", "image": "other"});
            pod["spec"]["initContainers"].as_array_mut().unwrap().insert(1, other);
        },
        |pod| {
            let variables = pod["spec"]["initContainers"][1]["env"].as_array_mut().unwrap();
            variables.push(json!({"name": "AWS_ROLE_ARN", "value": "x"}));
        },
        |pod| pod["spec"]["initContainers"][0]["securityContext"]["privileged"] = true.into(),
        |pod| pod["metadata"]["annotations"]["outrigger.dev/status"] = "{}".into(),
    ];
    let case = cases::named("deployment");
    for meddle in meddlers {
        let mut pod = returned(&patched(&case.pod, &case.inject(&case.pod)));
        meddle(&mut pod);
        let outcome = case.inject(&pod);
        assert_eq!(outcome.reason, Reason::Reinjected);
        let right = patched(&pod, &outcome);
        let names: Vec<_> = right["spec"]["initContainers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        assert_eq!(names[..2], ["outrigger-init", "outrigger-proxy"]);
        assert_eq!(case.inject(&returned(&right)).reason, Reason::AlreadyInjected);
    }
}

#[test]
fn injecting_a_pod_that_was_injected_otherwise_is_the_same_as_injecting_its_original() {
    let case = cases::named("probes");
    let standing = returned(&patched(&case.pod, &case.inject(&case.pod)));
    let annotate = |pod: &Value| {
        let mut pod = pod.clone();
        pod["metadata"]["annotations"]["outrigger.dev/proxy-cpu-limit"] = "none".into();
        pod
    };
    let again = case.inject(&annotate(&standing));
    assert_eq!(again.reason, Reason::Reinjected);
    let fresh = annotate(&case.pod);
    let fresh = patched(&fresh, &case.inject(&fresh));
    let again = patched(&annotate(&standing), &again);
    assert_eq!(again["spec"]["initContainers"], fresh["spec"]["initContainers"]);
    assert_eq!(again["metadata"]["annotations"], fresh["metadata"]["annotations"]);
}

#[test]
fn a_probe_that_was_changed_after_injection_is_kept_and_taken_over_anew() {
    let case = cases::named("deployment");
    let mut pod = patched(&case.pod, &case.inject(&case.pod));
    let changed = json!({"tcpSocket": {"port": 8080}});
    pod["spec"]["containers"][0]["readinessProbe"] = changed.clone();
    let Decision::Patch(patch) = uninject(&pod).unwrap() else { panic!("nothing was taken out") };
    let mut without = pod.clone();
    json_patch::patch(&mut without, &patch).unwrap();
    assert_eq!(without["spec"]["containers"][0]["readinessProbe"], changed);
    let again = patched(&pod, &case.inject(&pod));
    assert_eq!(again["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"], 15020);
}

#[test]
fn warnings_fit_what_the_api_server_shows() {
    for case in cases::all() {
        for warning in case.inject(&case.pod).warnings {
            let shown = format!("outrigger: {warning}");
            assert!(shown.len() <= 120, "{}: {shown}", case.name);
        }
    }
}
