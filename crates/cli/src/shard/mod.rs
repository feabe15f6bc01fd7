//! `acquaint shard`: the files that a server keeps its shards of private lookup in.

mod build;
mod stat;
mod verify;

use acquaint_server::shard::Head;

use crate::args::shard::ShardCommand;
use crate::failure::Failure;

pub(crate) async fn run(command: ShardCommand) -> Result<(), Failure> {
    match command {
        ShardCommand::Build(args) => build::run(args).await,
        ShardCommand::Stat(args) => stat::run(&args),
        ShardCommand::Verify(args) => verify::run(args).await,
    }
}

/// What a shard is called: as text, if a person can read it.
fn name(head: &Head) -> String {
    match std::str::from_utf8(&head.label) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => hex::encode(&head.label),
    }
}

/// What a command ends with when some of the files are not good. Each was told by itself.
fn outcome(broken: usize) -> Result<(), Failure> {
    match broken {
        0 => Ok(()),
        1 => Err("something is wrong with a file".into()),
        several => Err(format!("something is wrong with {several} files").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_text_is_shown_in_hexadecimal() {
        let named =
            |label: &[u8]| name(&Head { epoch: Vec::new(), label: label.to_vec(), change: 0, made_at: 0 });
        assert_eq!(named("contacts.example/psm/1/1/0".as_bytes()), "contacts.example/psm/1/1/0");
        assert_eq!(named(b"a\x1b[2J"), "611b5b324a");
        assert_eq!(named(&[0xff, 1]), "ff01");
    }
}
