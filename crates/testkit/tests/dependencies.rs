//! The house rule that dependencies point down only, held against every manifest.

use std::collections::BTreeMap;
use std::path::Path;

/// Who may depend on whom (ARCHITECTURE.md, "Rooms"). `testkit` and `bench` stand beside.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("protocol", &[]),
    ("stretch", &[]),
    ("custody", &["protocol"]),
    ("store", &["protocol"]),
    ("service", &["protocol", "stretch", "custody", "store"]),
    ("server", &["protocol", "custody", "store", "service"]),
    ("client", &["protocol"]),
    ("cli", &["server", "client"]),
    ("testkit", &["server", "client"]),
];

#[test]
fn dependencies_point_down_only() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let allowed = BTreeMap::from(ALLOWED);
    let mut seen = 0;
    for entry in std::fs::read_dir(crates).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let rule = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no rule: add it here and in ARCHITECTURE.md"));
        for (dependency, how) in manifest["dependencies"].as_table().unwrap() {
            if let Some(ours) = dependency.strip_prefix("acquaint-") {
                assert!(rule.contains(&ours), "{name} may not depend on {ours}");
                let adapters = how.get("features").is_some();
                assert!(!adapters || name == "server", "only server names an adapter, not {name}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, ALLOWED.len(), "every rule belongs to a crate");
}
