/// The cost of Argon2id: memory and passes; always version 0x13, one lane, 32 bytes of output.
///
/// These are the only three: a suite is part of an [`Epoch`](super::Epoch), and both sides must know it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// As written in configuration and key files; never given to another suite.
    pub name: &'static str,
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
}

impl Suite {
    /// The default: 19 MiB, two passes.
    pub const STANDARD: Self = Self { name: "standard", memory_kib: 19 * 1024, passes: 2 };
    /// 64 MiB, three passes: about six times the work of `standard`, for us and for an attacker.
    pub const HARD: Self = Self { name: "hard", memory_kib: 64 * 1024, passes: 3 };
    /// 1 MiB, one pass: for tests and for demos on loopback only. It protects nobody.
    pub const DEVELOPMENT: Self = Self { name: "development", memory_kib: 1024, passes: 1 };
    /// All of them.
    pub const ALL: [Self; 3] = [Self::STANDARD, Self::HARD, Self::DEVELOPMENT];

    /// The suite of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name == name)
    }

    /// The memory of one hash, in bytes.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_kib as u64 * 1024
    }
}
