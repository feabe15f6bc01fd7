//! `acquaint payload`.

use serde_json::Value;
use tempfile::TempDir;

use crate::lookup::refused;
use crate::support::{program, run};

fn json(args: &[&str]) -> Value {
    let told = run(program().args(["payload", "--json"]).args(args));
    assert_eq!(told.code, Some(0), "{}", told.err);
    serde_json::from_str(&told.out).unwrap()
}

#[test]
fn the_pages_example_is_what_comes_without_arguments() {
    let told = run(program().arg("payload"));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let row = |name: &str| {
        let line =
            told.out.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{}", told.out));
        line.trim()
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("page, as written"), ["page, as written", "6 000", "17 080"]);
    assert_eq!(row("page, reckoned"), ["page, reckoned", "6 000", "17 090"]);
    assert_eq!(row("listings under a weak hash"), ["c", "3.052", "listings under a weak hash"]);
    assert_eq!(row("page, measured").len(), 4);
    assert_eq!(row("sealed, measured").len(), 4);
}

#[test]
fn every_symbol_is_an_option() {
    let page = |args: &[&str]| json(args)["page"].clone();
    let args = "--sw 4 --ss 20 --su 8 --n 2000 --a 2 --f 0.5 --u 100 --b 0.2 --p 1000 --possible 20000";
    let page = page(&args.split(' ').collect::<Vec<_>>());
    assert_eq!((page["d"].as_f64(), page["c"].as_f64()), (Some(1000.0), Some(2.0)));
    assert_eq!((page["y"].as_f64(), page["request"].as_f64()), (Some(0.05), Some(400.0)));
    let response = page["response"].as_f64().unwrap();
    assert!((response - 100.0 * (0.2 + 0.8 * 0.05) * 2.0 * 32.0).abs() < 1e-6, "{response}");
    let few = ["--n", "1000", "--u", "50", "--k", "10", "--l", "20"];
    let sealed = json(&few);
    assert_eq!(sealed["sealed"]["prefix_bits"], 7);
    assert_eq!(sealed["measured"]["sealed"]["requests"], 2);
    // A length of weak hashes that was never built is told, and no number made up.
    assert!(json(&["--p", "4096"])["measured"]["page"]["not_measured"].is_string());
}

#[test]
fn what_is_too_large_is_told_and_the_rest_is_there() {
    let vast = json(&["--n", "1e15", "--u", "10"]);
    assert!(vast["sealed"]["not_reckoned"].as_str().unwrap().contains("--n is too large"), "{vast}");
    assert!(vast["page"]["response"].is_number() && vast["measured"]["sealed"]["not_measured"].is_string());
    assert_eq!(run(program().args(["payload", "--n", "1e15", "--u", "10"])).code, Some(0));
    let names = json(&["--su", "1e12", "--n", "1000"]);
    assert!(names["measured"]["page"]["not_measured"].as_str().unwrap().contains("64 MiB"), "{names}");
}

#[test]
fn charts_are_drawn_in_both_formats() {
    let folder = TempDir::new().unwrap();
    let draw = |name: &str| {
        let file = folder.path().join(name);
        let told = run(program().args(["payload", "--n", "1000", "--u", "10", "--plot"]).arg(&file));
        assert_eq!(told.code, Some(0), "{}", told.err);
        std::fs::read(file).unwrap()
    };
    let svg = String::from_utf8(draw("a.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for text in ["Bytes received for 10 contacts", "sealed buckets", "1 G", "users of the server"] {
        assert!(svg.contains(text), "{text}");
    }
    let png = draw("a.PNG");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 10_000);
    refused(program().args(["payload", "--plot", "a.gif"]), &["ends in .svg or .png"]);
    refused(program().args(["payload", "--plot", "no/such/folder/a.svg"]), &["cannot write"]);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for args in [["--f", "1.1"], ["--b", "-1"], ["--n", "NaN"], ["--u", "inf"], ["--p", "0"], ["--l", "0"]] {
        let option = format!("{}={}", args[0], args[1]);
        assert_eq!(run(program().args(["payload", &option])).code, Some(2), "{args:?}");
    }
    refused(program().args(["payload", "--k", "60000"]), &["--k", "15000"]);
}
