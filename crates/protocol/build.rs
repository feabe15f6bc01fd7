//! Generates the wire messages from the checked-in descriptor set, so that no `protoc` is needed to build.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use buffa_codegen::generated::descriptor::FileDescriptorSet;
use buffa_codegen::{CodeGenConfig, generate, tooling_decode_options};

const DESCRIPTOR_SET: &str = "proto/rolodex.binpb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTOR_SET}");
    let set: FileDescriptorSet = tooling_decode_options()?.decode_from_slice(&fs::read(DESCRIPTOR_SET)?)?;

    let mut config = CodeGenConfig::default();
    // The Connect protocol speaks JSON too, and its service stubs need views.
    config.generate_json = true;
    config.generate_views = true;
    config.file_per_package = true;
    // Nothing is forwarded: what we do not know, we do not keep.
    config.preserve_unknown_fields = false;

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    for file in generate(&set.file, &["rolodex/rolodex.proto".to_owned()], &config)? {
        fs::write(out_dir.join(&file.name), file.content)?;
    }
    Ok(())
}
