//! Who is compared, and a turn of each.

use std::fmt;

use acquaint_stretch::{Cost, Job, Kernel, Worker};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::Result;
use super::input::{LENGTH, SALT, Tag, password, together};
use super::reference::{Process, Program};
use crate::machine;

/// What a contestant did when it was its turn.
pub(super) struct Turn {
    /// CPU time of the thread that hashed.
    pub(super) seconds: f64,
    /// The XOR of the tags.
    pub(super) tags: Tag,
}

/// One that hashes with one thread, at one cost.
pub(super) enum Contestant {
    Ours(Worker),
    /// The call that allocates its memory and gives it back.
    RustCrypto(Argon2<'static>),
    /// The same with memory that is kept.
    RustCryptoKept(Argon2<'static>, Vec<Block>),
    /// The C, which keeps its memory, and whether it overwrites it after each hash.
    Reference {
        process: Process,
        cost: Cost,
        wipe: bool,
    },
}

impl Contestant {
    /// `None` where the processor lacks the kernel.
    pub(super) fn ours(cost: Cost, kernel: Kernel) -> Result<Option<Self>> {
        if !kernel.is_available() {
            return Ok(None);
        }
        Ok(Some(Self::Ours(Worker::with(cost, kernel, Worker::WIDTH)?)))
    }

    pub(super) fn rustcrypto(cost: Cost) -> Result<Self> {
        Ok(Self::RustCrypto(argon2(cost)?))
    }

    pub(super) fn rustcrypto_kept(cost: Cost) -> Result<Self> {
        let argon2 = argon2(cost)?;
        let memory = vec![Block::new(); argon2.params().block_count()];
        Ok(Self::RustCryptoKept(argon2, memory))
    }

    /// `None` where it could not be built.
    pub(super) fn reference(cost: Cost, program: Option<&Program>, wipe: bool) -> Result<Option<Self>> {
        let Some(program) = program else { return Ok(None) };
        Ok(Some(Self::Reference { process: program.start()?, cost, wipe }))
    }

    /// Hashes so many passwords, the first of this number.
    pub(super) fn turn(&mut self, first: u64, count: usize) -> Result<Turn> {
        if let Self::Reference { process, cost, wipe } = self {
            return process.turn(*cost, first, count, *wipe);
        }
        let passwords: Vec<_> = (first..).take(count).map(password).collect();
        let mut tags = vec![[0; LENGTH]; count];
        let inputs = passwords.iter().zip(&mut tags);
        let began = machine::thread_cpu_seconds();
        match self {
            Self::Ours(worker) => {
                let mut jobs: Vec<_> =
                    inputs.map(|(password, tag)| Job { password, salt: &SALT, tag }).collect();
                worker.hash(&mut jobs, || true)?;
            }
            Self::RustCrypto(argon2) => {
                for (password, tag) in inputs {
                    argon2.hash_password_into(password, &SALT, tag).map_err(|error| error.to_string())?;
                }
            }
            Self::RustCryptoKept(argon2, memory) => {
                for (password, tag) in inputs {
                    argon2
                        .hash_password_into_with_memory(password, &SALT, tag, &mut memory[..])
                        .map_err(|error| error.to_string())?;
                }
            }
            Self::Reference { .. } => {}
        }
        Ok(Turn { seconds: machine::thread_cpu_seconds() - began, tags: together(&tags) })
    }
}

fn argon2(cost: Cost) -> Result<Argon2<'static>> {
    let params =
        Params::new(cost.memory_kib(), cost.passes(), 1, Some(LENGTH)).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(worker) => write!(f, "the {} kernel", worker.kernel()),
            Self::RustCrypto(_) => f.write_str("RustCrypto"),
            Self::RustCryptoKept(..) => f.write_str("RustCrypto with memory kept"),
            Self::Reference { .. } => f.write_str("the reference in C"),
        }
    }
}
