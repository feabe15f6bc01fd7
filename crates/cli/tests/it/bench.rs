//! `acquaint bench`.

use acquaint_pir::{Parameters, Shape};
use serde_json::Value;
use tempfile::TempDir;

use crate::lookup::refused;
use crate::support::{program, run};

#[test]
fn lookups_are_measured_beside_the_drafts_estimates() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.svg");
    let told = run(program().args(["bench", "pir", "--records", "1000", "--plot"]).arg(&file));
    assert_eq!(told.code, Some(0), "{}", told.err);
    for text in [
        "Table 2",
        "14 MB",
        "21 KB",
        "0.8-1s",
        "Table 3",
        "2.8 MB",
        "1-2s",
        "32 bytes",
        "draft, 10000000",
        "here, 1000",
        "(another size)",
    ] {
        assert!(told.out.contains(text), "{text}: {}", told.out);
    }
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.contains("the MIMI draft") && svg.contains("here, 1000 records"));

    let told = run(program().args(["bench", "pir", "--records", "1000", "--json"]));
    let figures: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(figures["records"], 1000);
    // What the server keeps of keys is more than what was sent, in which random parts are seeds.
    assert!(figures["key_memory_bytes"].as_u64() > figures["key_bytes"].as_u64(), "{figures}");
    let parameters = Parameters::new(Shape::for_records(1000)).unwrap();
    // Whole messages: of an element, and of a query.
    assert_eq!(figures["upload_bytes"], 23 + 32 + 49 + parameters.query_bytes());
    for name in ["upload_bytes", "download_bytes", "client_ms", "server_ms", "key_bytes", "update_us"] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
    refused(program().args(["bench", "pir", "--plot", "a.gif"]), &["ends in .svg or .png"]);
}
