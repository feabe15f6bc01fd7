//! The house rule that dependencies point down only, held against every manifest.

use std::collections::BTreeMap;
use std::path::Path;

/// Who may depend on whom (ARCHITECTURE.md, "Rooms"). `testkit` and `bench` stand beside.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("protocol", &[]),
    ("stretch", &[]),
    ("pir", &[]),
    ("custody", &["protocol"]),
    ("store", &["protocol"]),
    ("service", &["protocol", "pir", "stretch", "custody", "store"]),
    ("server", &["protocol", "custody", "store", "service"]),
    ("client", &["protocol", "pir"]),
    ("cli", &["server", "client"]),
    ("testkit", &["server", "client"]),
];

#[test]
fn unsafe_code_is_in_the_kernels_and_where_files_are_mapped() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut folders, mut files) = (vec![crates.to_path_buf()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("dependencies.rs")
            {
                let expects = std::fs::read_to_string(&path).unwrap().contains("unsafe_code");
                let may = ["stretch/src/vector/kernel", "pir/src/kernel", "service/src/shard/map.rs"]
                    .iter()
                    .any(|place| path.starts_with(crates.join(place)));
                assert!(!expects || may, "{} may not have unsafe code", path.display());
                files += usize::from(expects);
            }
        }
    }
    assert_eq!(files, 5);
}

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
