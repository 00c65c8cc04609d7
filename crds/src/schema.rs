//! The CustomResourceDefinition as it is installed: what the derives write, and what they can't say.

use crate::policy::MeshPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use std::collections::BTreeMap;

/// What stands above the generated file.
const HEADER: &str = "# generated: UPDATE_GOLDEN=1 cargo test -p crds\n";

/// The definition of `meshpolicies.outrigger.dev`.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = MeshPolicy::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(schema);
            if let Some(authorization) = at(schema, &["spec", "authorization"]) {
                keep_null(authorization);
                if let Some(rules) = at(authorization, &["rules"]) {
                    keep_everything(rules);
                }
            }
        }
    }
    crd
}

/// The same as the file `manifests/crds/meshpolicies.outrigger.dev.yaml`.
pub fn crd_yaml() -> String {
    // serialized as the typed definition: its order doesn't depend on features of serde_json
    let yaml = serde_saphyr::to_string(&crd()).expect("a definition has no values that YAML can't hold");
    let mut text = HEADER.to_owned();
    for line in yaml.lines() {
        // bounds are floats in the type, and whole numbers in every file that people compare this one with
        let bound = line.trim_start().starts_with("maximum: ") || line.trim_start().starts_with("minimum: ");
        text.push_str(if bound { line.trim_end_matches(".0") } else { line });
        text.push('\n');
    }
    text
}

/// Takes away what the derives add and an API server is better without, and joins the lines of descriptions.
///
/// - `nullable` on every Option: `field: null` would be stored instead of pruned, and on an enum it is refused with
///   `supported values: "Allow", "Deny", "null"`.
/// - `additionalProperties: false` from `deny_unknown_fields`: a structural schema forbids it beside `properties`.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(words) = &mut schema.enum_ {
        words.retain(|word| !word.0.is_null());
    }
    if let Some(JSONSchemaPropsOrBool::Bool(false)) = schema.additional_properties {
        schema.additional_properties = None;
    }
    if let Some(text) = &mut schema.description {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    children(schema).for_each(tidy);
}

/// Under `authorization.rules` nothing that the schema doesn't know is pruned: a condition that is lost would widen the
/// rule. The operator reads these objects raw, and takes the strict reading (`parse.rs`).
fn keep_everything(schema: &mut JSONSchemaProps) {
    if schema.properties.is_some() {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    children(schema).for_each(keep_everything);
}

/// An API server prunes `from: null`, which is what a template leaves of an empty list, and `from` that is absent means
/// every caller. So lists and objects here keep their null. CEL takes it for absent; [`crate::check()`] and the
/// operator see it.
fn keep_null(schema: &mut JSONSchemaProps) {
    for child in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        if matches!(child.type_.as_deref(), Some("array" | "object")) {
            child.nullable = Some(true);
        }
    }
    children(schema).for_each(keep_null);
}

/// What a null is answered with.
pub(crate) fn null_message(field: &str) -> String {
    let absent = match field {
        "from" => " if every caller is meant",
        "to" => " if every request is meant",
        _ => "",
    };
    format!("{field} is null; give it a value, or remove it{absent}")
}

fn at<'a>(schema: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    path.iter().try_fold(schema, |schema, name| schema.properties.as_mut()?.get_mut(*name))
}

fn children(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(&mut **items),
        _ => None,
    };
    let values = match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(&mut **values),
        _ => None,
    };
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).chain(items).chain(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node of the schema with its path.
    fn nodes(schema: JSONSchemaProps, path: String) -> Vec<(String, JSONSchemaProps)> {
        let mut all = vec![(path.clone(), schema.clone())];
        for (name, child) in schema.properties.into_iter().flatten() {
            all.extend(nodes(child, format!("{path}.{name}")));
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items {
            all.extend(nodes(*items, format!("{path}[]")));
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties {
            all.extend(nodes(*values, format!("{path}{{}}")));
        }
        all
    }

    fn spec_nodes() -> Vec<(String, JSONSchemaProps)> {
        let mut schema = crd().spec.versions.remove(0).schema.unwrap().open_api_v3_schema.unwrap();
        nodes(at(&mut schema, &["spec"]).unwrap().clone(), "spec".into())
    }

    #[test]
    fn the_checked_in_definition_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds/meshpolicies.outrigger.dev.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, crd_yaml()).unwrap();
        }
        let file = std::fs::read_to_string(path).unwrap();
        assert!(file == crd_yaml(), "{path} has drifted: UPDATE_GOLDEN=1 cargo test -p crds");
    }

    #[test]
    fn the_file_reads_back_as_the_definition() {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&crd_yaml()).unwrap();
        assert_eq!(read, crd());
    }

    #[test]
    fn every_field_is_described_and_bounded() {
        for (path, node) in spec_nodes() {
            let name = path.rsplit('.').next().unwrap();
            if !name.ends_with("[]") && !name.ends_with("{}") && path != "spec" {
                let text = node.description.as_deref().unwrap_or_default();
                assert!(text.len() > 20 && text.ends_with('.'), "{path} needs a description: '{text}'");
            }
            match node.type_.as_deref() {
                Some("array") => assert!(node.max_items.is_some() && node.min_items == Some(1), "{path}"),
                Some("string") => assert!(node.max_length.is_some() || node.enum_.is_some(), "{path}"),
                Some("integer") => assert!(node.minimum.is_some() && node.maximum.is_some(), "{path}"),
                Some("object") => assert!(node.properties.is_some() || node.max_properties.is_some(), "{path}"),
                other => panic!("{path} has type {other:?}"),
            }
            if node.type_.as_deref() == Some("array") {
                assert!(node.x_kubernetes_list_type.is_some(), "{path} needs a list type");
            }
        }
    }

    #[test]
    fn only_rules_keep_unknown_fields_and_nulls() {
        for (path, node) in spec_nodes() {
            let below = path.starts_with("spec.authorization.rules[]");
            let keeps = node.x_kubernetes_preserve_unknown_fields == Some(true);
            assert_eq!(keeps, below && node.properties.is_some(), "{path}");
            let list = matches!(node.type_.as_deref(), Some("array" | "object")) && !path.ends_with("[]");
            let nullable = list && path.starts_with("spec.authorization.");
            assert_eq!(node.nullable == Some(true), nullable, "{path}");
            assert!(node.additional_properties.is_none() || node.properties.is_none(), "{path}");
        }
    }

    #[test]
    fn a_rule_says_what_to_do() {
        for (path, node) in spec_nodes() {
            for rule in node.x_kubernetes_validations.into_iter().flatten() {
                let message = rule.message.unwrap_or_default();
                assert!(message.len() > 20 && !message.contains('\n'), "{path}: {}", rule.rule);
            }
        }
    }

    #[test]
    fn columns_are_those_of_the_contract() {
        let version = crd().spec.versions.remove(0);
        let columns = |wide: bool| -> Vec<String> {
            let columns = version.additional_printer_columns.iter().flatten();
            columns.filter(|column| column.priority.is_some_and(|p| p > 0) == wide).map(|c| c.name.clone()).collect()
        };
        assert_eq!(columns(false), ["Target", "Mode", "Accepted", "Enforced", "Proxies", "Age"]);
        assert_eq!(columns(true), ["Priority", "Hash", "Message"]);
        let labels = crd().metadata.labels.unwrap();
        assert_eq!(labels["gateway.networking.k8s.io/policy"], "Inherited");
    }
}
