use std::fs;
use std::path::Path;

#[test]
fn descriptor_set_is_the_one_of_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let set = protox::Compiler::new([&root])
        .unwrap()
        .include_imports(true)
        .include_source_info(true)
        .open_file("rolodex/rolodex.proto")
        .unwrap()
        .encode_file_descriptor_set();
    let checked_in = root.join("rolodex.binpb");
    if std::env::var_os("ACQUAINT_REFRESH").is_some() {
        fs::write(&checked_in, &set).unwrap();
    }
    assert!(
        fs::read(&checked_in).unwrap() == set,
        "proto/rolodex.binpb is out of date: ACQUAINT_REFRESH=1 cargo test -p acquaint-protocol descriptor_set"
    );
}
