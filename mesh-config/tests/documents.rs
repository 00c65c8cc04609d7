//! Pages of `docs/` that are made from the code, so that they can't say something else. Refresh: `UPDATE_GOLDEN=1`.

use mesh_config::{Mesh, settings};
use std::fmt::Write;

fn hold(page: &str, text: &str) {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, text, "{path} is out of date; run UPDATE_GOLDEN=1 cargo test -p mesh-config");
}

#[test]
fn the_page_of_mesh_settings_shows_the_defaults() {
    let defaults = serde_saphyr::to_string(&Mesh::default()).unwrap();
    hold(
        "mesh-settings.md",
        &format!(
            "# Mesh-wide settings\n\n<!-- made by mesh-config/tests/documents.rs -->\n\n\
             Key `mesh.yaml` of the ConfigMap `outrigger-mesh` in Outrigger's namespace. Injector and operator read it at \
             once when it\nchanges; an unknown field or a bad value refuses the whole file, the last good one stays, and \
             the log says what to mend.\nA namespace's and a Pod's annotations win over it. Every field may be left out; \
             these are the defaults:\n\n```yaml\n{defaults}```\n\n\
             Quantities are Kubernetes' (`100m`, `128Mi`); an empty text leaves the field out of the Pod. Durations are \
             Gateway API's\n(`500ms`, `1m30s`).\n"
        ),
    );
}

#[test]
fn the_page_of_pod_settings_lists_every_key() {
    let mut text = String::from(
        "# Settings of a Pod's proxy and init container\n\n<!-- made by mesh-config/tests/documents.rs -->\n\n\
         Environment variables that the injector writes from the mesh's settings and the annotations. A key that isn't \
         there has its\ndefault. `outrigger-init` gets those about capture.\n\n| key | what it says |\n|---|---|\n",
    );
    for (key, help) in settings::KEYS {
        let _ = writeln!(text, "| `{key}` | {help} |");
    }
    hold("pod-settings.md", &text);
}
