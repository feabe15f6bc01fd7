//! What the targets share.

pub mod address_book;

/// Lets a panic that the program catches itself pass, as it does in the program. One that reaches the target still
/// ends it: libfuzzer-sys aborts on it.
pub fn let_caught_panics_pass() {
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
}
