//! Generates the stubs of `rolodex.RolodexService` over `acquaint-protocol`'s messages, from the descriptor set that is
//! checked in there.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use buffa_codegen::generated::descriptor::FileDescriptorSet;
use buffa_codegen::tooling_decode_options;
use connectrpc_codegen::codegen::{Options, generate_services};

const DESCRIPTOR_SET: &str = "../protocol/proto/rolodex.binpb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTOR_SET}");
    let set: FileDescriptorSet = tooling_decode_options()?.decode_from_slice(&fs::read(DESCRIPTOR_SET)?)?;

    let mut options = Options::default();
    options.buffa.file_per_package = true;
    options.buffa.extern_paths.push((".".to_owned(), "::acquaint_protocol::message".to_owned()));

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    for file in generate_services(&set.file, &["rolodex/rolodex.proto".to_owned()], &options)? {
        fs::write(out_dir.join(&file.name), file.content)?;
    }
    Ok(())
}
